// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"net"
	"sync"

	"github.com/gitops-kit/sdk/testserver/fault"
)

// Listener is a loopback listener that can refuse connections without giving
// its port up, and knows its connections. It is safe for concurrent use.
type Listener struct {
	net.Listener
	mu     sync.Mutex
	paused bool
	nextID int64
	conns  map[*Conn]struct{}
}

// Conn is a connection of a [Listener].
type Conn struct {
	net.Conn
	// ID numbers the connections of a listener from 1.
	ID int64
	l  *Listener
}

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Close closes the connection.
func (c *Conn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// Listen opens a port of the kernel's choice on 127.0.0.1, or on ::1.
func Listen(ipv6 bool) (*Listener, error) {
	network, addr := "tcp4", "127.0.0.1:0"
	if ipv6 {
		network, addr = "tcp6", "[::1]:0"
	}
	l, err := net.Listen(network, addr)
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
			fault.Close(c, true)
			continue
		}
		l.nextID++
		cc := &Conn{Conn: c, ID: l.nextID, l: l}
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

// Resume accepts connections again.
func (l *Listener) Resume() {
	l.mu.Lock()
	l.paused = false
	l.mu.Unlock()
}

// Reset resets all open connections.
func (l *Listener) Reset() {
	l.mu.Lock()
	conns := make([]*Conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	clear(l.conns)
	l.mu.Unlock()
	for _, c := range conns {
		fault.Close(c.Conn, true)
	}
}

// Open returns the number of open connections.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}
