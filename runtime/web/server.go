// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of a server. Zero is the default named on each field, negative is
// unlimited.
type Limits struct {
	Header     int64         // bytes of a request's header: 64 KiB
	HeaderTime time.Duration // to send it: 10 s
	Body       int64         // bytes of a request's body: 3 MiB
	Read       time.Duration // whole request: 30 s
	Write      time.Duration // whole response: 30 s
	Idle       time.Duration // between requests: 60 s
	Conns      int           // connections at once: 500
	Stop       time.Duration // to finish requests at the end: 10 s
}

// Options of [New]. The zero value has the default limits and no TLS.
type Options struct {
	// Limits of the server.
	Limits Limits
	// TLS, when set, is used for every connection.
	TLS *tls.Config
}

// Server serves one handler. Use [New].
type Server struct {
	http *http.Server
	o    Options
}

// New returns a server for h.
func New(h http.Handler, o Options) *Server {
	o.Limits = o.Limits.withDefaults()
	l := o.Limits
	bodies := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > l.Body {
			w.Header().Set("Connection", "close")
			http.Error(w, "request body too large", http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, l.Body)
		h.ServeHTTP(w, r)
	})
	s := &http.Server{
		Handler: bodies, TLSConfig: o.TLS, MaxHeaderBytes: int(min(l.Header, 1<<30)), ReadHeaderTimeout: l.HeaderTime,
		ReadTimeout: l.Read, WriteTimeout: l.Write, IdleTimeout: l.Idle,
		DisableGeneralOptionsHandler: true,
	}
	return &Server{http: s, o: o}
}

// Serve accepts connections on l until ctx is done, then finishes running
// requests for at most the Stop limit and returns nil. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	l = &limited{Listener: l, slots: make(chan struct{}, s.o.Limits.Conns), done: make(chan struct{})}
	if s.o.TLS != nil {
		l = tls.NewListener(l, s.o.TLS)
	}
	errs := make(chan error, 1)
	go func() { errs <- s.http.Serve(l) }()
	select {
	case err := <-errs:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.Limits.Stop)
	defer cancel()
	if err := s.http.Shutdown(stop); err != nil {
		_ = s.http.Close()
	}
	if err := <-errs; err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (l Limits) withDefaults() Limits {
	number := func(v, def int64) int64 {
		switch {
		case v == 0:
			return def
		case v < 0:
			return 1<<62 - 1
		}
		return v
	}
	span := func(v, def time.Duration) time.Duration {
		switch {
		case v == 0:
			return def
		case v < 0:
			return 0 // net/http: none
		}
		return v
	}
	l.Header, l.Body = number(l.Header, 64<<10), number(l.Body, 3<<20)
	l.HeaderTime, l.Read = span(l.HeaderTime, 10*time.Second), span(l.Read, 30*time.Second)
	l.Write, l.Idle = span(l.Write, 30*time.Second), span(l.Idle, time.Minute)
	l.Conns = int(min(number(int64(l.Conns), 500), 1<<20))
	if l.Stop <= 0 {
		l.Stop = 10 * time.Second
	}
	return l
}

// limited is a listener that waits while there are too many connections.
type limited struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &conn{Conn: c, release: func() { <-l.slots }}, nil
}

// Close implements net.Listener.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// conn gives its slot back once.
type conn struct {
	net.Conn
	once    sync.Once
	release func()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(c.release)
	return c.Conn.Close()
}
