// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package listen provides a loopback listener whose connections can be refused,
// reset and frozen without giving its port up.
package listen

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
)

// Listener is a loopback listener that knows its connections. It is safe for
// concurrent use.
type Listener struct {
	net.Listener
	mu     sync.Mutex
	paused bool
	frozen chan struct{} // not nil while frozen; closed by Resume
	nextID int64
	conns  map[*Conn]struct{}
}

// Conn is a connection of a [Listener].
type Conn struct {
	net.Conn
	// ID numbers the connections of a listener from 1.
	ID   int64
	l    *Listener
	once sync.Once
	gone chan struct{}
}

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Read reads; while the listener is frozen what arrives is held back.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.wait(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if err := c.wait(); err != nil {
		return 0, err
	}
	return n, err
}

// Write writes; while the listener is frozen it waits.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.wait(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *Conn) wait() error {
	c.l.mu.Lock()
	frozen := c.l.frozen
	c.l.mu.Unlock()
	if frozen == nil {
		return nil
	}
	select {
	case <-frozen:
		return nil
	case <-c.gone:
		return net.ErrClosed
	}
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.forget()
	return c.Conn.Close()
}

func (c *Conn) forget() {
	c.once.Do(func() { close(c.gone) })
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.mu.Unlock()
}

// Loopback opens a port of the kernel's choice on 127.0.0.1, or on ::1.
func Loopback(ctx context.Context, ipv6 bool) (*Listener, error) {
	network, addr := "tcp4", "127.0.0.1:0"
	if ipv6 {
		network, addr = "tcp6", "[::1]:0"
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &Listener{Listener: l, conns: map[*Conn]struct{}{}}, nil
}

// Accept returns the next connection; while paused, connections are reset.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		if l.paused {
			l.mu.Unlock()
			CloseConn(c, true)
			continue
		}
		l.nextID++
		cc := &Conn{Conn: c, ID: l.nextID, l: l, gone: make(chan struct{})}
		l.conns[cc] = struct{}{}
		l.mu.Unlock()
		return cc, nil
	}
}

// Pause resets all connections, and new ones until Resume.
func (l *Listener) Pause() {
	l.mu.Lock()
	l.paused = true
	l.mu.Unlock()
	l.Reset()
}

// Freeze stops all traffic without closing anything: the peer sees a half-open
// connection.
func (l *Listener) Freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen == nil {
		l.frozen = make(chan struct{})
	}
}

// Resume accepts connections and passes traffic again.
func (l *Listener) Resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = false
	if l.frozen != nil {
		close(l.frozen)
		l.frozen = nil
	}
}

// Reset resets all open connections.
func (l *Listener) Reset() {
	l.mu.Lock()
	conns := make([]*Conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		c.forget()
		CloseConn(c.Conn, true)
	}
}

// Open returns the number of open connections.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// Find returns the listener's connection below c, nil if there is none.
func Find(c net.Conn) *Conn {
	for {
		if cc, ok := c.(*Conn); ok {
			return cc
		}
		u, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = u.NetConn()
	}
}

// CloseConn closes the transport below TLS, so that no alert is sent; with a
// reset if rst is set.
func CloseConn(c net.Conn, rst bool) {
	if cc := Find(c); cc != nil {
		cc.forget()
	}
	for {
		var next net.Conn
		switch u := c.(type) {
		case *tls.Conn:
			next = u.NetConn()
		case interface{ NetConn() net.Conn }:
			next = u.NetConn()
		}
		if next == nil {
			break
		}
		c = next
	}
	if t, ok := c.(*net.TCPConn); ok && rst {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
