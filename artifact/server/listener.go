// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net"
	"sync"
	"time"
)

const (
	busy         = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	busyAnswers  = 64 // refusals that are being written at once; more are cut
	busyDeadline = time.Second
)

// limited accepts up to a number of connections and answers others with 503.
type limited struct {
	net.Listener
	slots   chan struct{}
	refusal chan struct{}
	secret  bool // TLS: a plain answer cannot be read
}

// limit bounds the connections of l.
func limit(l net.Listener, n int, secret bool) net.Listener {
	if n < 0 {
		return l
	}
	return &limited{Listener: l, slots: make(chan struct{}, n), refusal: make(chan struct{}, busyAnswers), secret: secret}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return l.wrap(c), nil
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

// wrap gives the slot back when the connection closes. The connection of a
// TCP listener keeps its methods, so that files are sent by the kernel.
func (l *limited) wrap(c net.Conn) net.Conn {
	free := sync.OnceFunc(func() { <-l.slots })
	if t, ok := c.(*net.TCPConn); ok {
		return &tcpConn{TCPConn: t, free: free}
	}
	return &conn{Conn: c, free: free}
}

type tcpConn struct {
	*net.TCPConn
	free func()
}

func (c *tcpConn) Close() error {
	defer c.free()
	return c.TCPConn.Close()
}

type conn struct {
	net.Conn
	free func()
}

func (c *conn) Close() error {
	defer c.free()
	return c.Conn.Close()
}
