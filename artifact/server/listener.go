// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	busy         = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	busyAnswers  = 64 // refusals that are being written at once; more are cut
	busyDeadline = time.Second

	leastProgress = 1 << 10 // less in the time of a stall is none
)

// limited accepts up to a number of connections and answers others with 503.
type limited struct {
	net.Listener
	slots   chan struct{} // nil: any number
	refusal chan struct{}
	secret  bool          // TLS: a plain answer cannot be read
	stall   time.Duration // see pace
}

// limit bounds the connections of l and how long each may make no progress.
func limit(l net.Listener, n int, secret bool, stall time.Duration) net.Listener {
	out := &limited{Listener: l, refusal: make(chan struct{}, busyAnswers), secret: secret, stall: stall}
	if n >= 0 {
		out.slots = make(chan struct{}, n)
	}
	return out
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.slots == nil {
			return l.wrap(c, func() {}), nil
		}
		select {
		case l.slots <- struct{}{}:
			return l.wrap(c, sync.OnceFunc(func() { <-l.slots })), nil
		default:
			l.refuse(c)
		}
	}
}

func (l *limited) refuse(c net.Conn) {
	select {
	case l.refusal <- struct{}{}:
	default:
		_ = c.Close()
		return
	}
	go func() {
		defer func() { <-l.refusal }()
		defer c.Close() //nolint:errcheck // refused
		if l.secret {
			return
		}
		_ = c.SetDeadline(time.Now().Add(busyDeadline))
		_, _ = c.Read(make([]byte, 4096)) // the request, so that closing sends no reset
		_, _ = c.Write([]byte(busy))
	}()
}

// wrap calls free when the connection closes. The connection of a TCP listener
// keeps its methods, so that files are sent by the kernel.
func (l *limited) wrap(c net.Conn, free func()) net.Conn {
	if t, ok := c.(*net.TCPConn); ok {
		return &tcpConn{TCPConn: t, free: free, pace: pace{stall: l.stall}}
	}
	return &conn{Conn: c, free: free, pace: pace{stall: l.stall}}
}

type tcpConn struct {
	*net.TCPConn
	free func()
	pace pace
}

// Close implements net.Conn.
func (c *tcpConn) Close() error {
	defer c.free()
	return c.TCPConn.Close()
}

// SetWriteDeadline implements net.Conn.
func (c *tcpConn) SetWriteDeadline(t time.Time) error { return c.pace.begin(c.TCPConn, t) }

// Write implements net.Conn.
func (c *tcpConn) Write(b []byte) (int, error) { return c.pace.write(c.TCPConn, b) }

// ReadFrom implements io.ReaderFrom. What was read of a file and not sent when
// a deadline passed is read again.
func (c *tcpConn) ReadFrom(r io.Reader) (n int64, err error) {
	l, limited := r.(*io.LimitedReader)
	var f *os.File
	if limited {
		f, _ = l.R.(*os.File)
	}
	if f == nil {
		return c.TCPConn.ReadFrom(r)
	}
	for {
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return n, err
		}
		left := l.N
		k, err := c.TCPConn.ReadFrom(l)
		n += k
		if !c.pace.tolerates(c.TCPConn, err, k) {
			return n, err
		}
		if _, err := f.Seek(at+k, io.SeekStart); err != nil {
			return n, err
		}
		l.N = left - k
	}
}

type conn struct {
	net.Conn
	free func()
	pace pace
}

// Close implements net.Conn.
func (c *conn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.pace.begin(c.Conn, t) }

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) { return c.pace.write(c.Conn, b) }

// pace is how fast a reader takes what is sent. One that is slow gets more
// time, one that stopped does not.
type pace struct {
	stall time.Duration
	moved atomic.Int64 // bytes since the deadline was set
}

// begin sets a deadline.
func (p *pace) begin(c net.Conn, t time.Time) error {
	p.moved.Store(0)
	return c.SetWriteDeadline(t)
}

// write writes all of b.
func (p *pace) write(c net.Conn, b []byte) (n int, err error) {
	for {
		k, err := c.Write(b[n:])
		n += k
		if !p.tolerates(c, err, int64(k)) {
			return n, err
		}
	}
}

// tolerates reports whether a write of k bytes goes on: a deadline has passed,
// but not without progress, and there is a new one.
func (p *pace) tolerates(c net.Conn, err error, k int64) bool {
	moved := p.moved.Add(k)
	return err != nil && moved >= leastProgress && p.stall > 0 && errors.Is(err, os.ErrDeadlineExceeded) &&
		p.begin(c, time.Now().Add(p.stall)) == nil
}
