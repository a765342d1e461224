// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gitops-kit/sdk/artifact"
)

// Options control a [Server]. The zero value has the defaults.
type Options struct {
	// TLS makes the server speak HTTPS. Nil: plain HTTP.
	TLS *tls.Config
	// Grace is how long running responses may go on when Serve's ctx ended.
	// Zero: 5 s; negative: not at all.
	Grace time.Duration
	// HeaderTimeout bounds the time to read a request. Zero: 10 s.
	HeaderTimeout time.Duration
	// WriteStall is how long a response may make no progress: less than 1 KiB
	// that the reader takes. Zero: 30 s; negative: for ever.
	WriteStall time.Duration
	// IdleTimeout is how long a connection waits for its next request. Zero:
	// 60 s.
	IdleTimeout time.Duration
	// Connections bounds open connections; one more is answered with 503.
	// Zero: 1,000; negative: unlimited.
	Connections int
}

const maxHeader = 64 << 10

// Server serves the files of a store. It is safe for concurrent use and is
// an [http.Handler].
type Server struct {
	s *artifact.Store
	o Options
}

var _ http.Handler = (*Server)(nil)

// New returns a server for a store.
func New(s *artifact.Store, o Options) *Server {
	for _, f := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.Grace, 5 * time.Second}, {&o.HeaderTimeout, 10 * time.Second}, {&o.WriteStall, 30 * time.Second}, {&o.IdleTimeout, time.Minute}} {
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	if o.Connections == 0 {
		o.Connections = 1000
	}
	return &Server{s: s, o: o}
}

// Serve answers requests from l until ctx ends. Responses that are running
// then may go on for [Options.Grace]. It closes l, and returns nil when it
// ended because of ctx.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: s.o.HeaderTimeout, ReadTimeout: s.o.HeaderTimeout, IdleTimeout: s.o.IdleTimeout,
		MaxHeaderBytes: maxHeader, Protocols: protocols,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	l = limit(l, s.o.Connections, s.o.TLS != nil, s.o.WriteStall)
	if s.o.TLS != nil {
		cfg := s.o.TLS.Clone()
		cfg.NextProtos = []string{"http/1.1"}
		cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
		l = tls.NewListener(l, cfg)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		_ = srv.Close()
		return fmt.Errorf("serve artifacts: %w", err)
	case <-ctx.Done():
	}
	graceful, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(s.o.Grace, 0))
	defer cancel()
	if err := srv.Shutdown(graceful); err != nil {
		_ = srv.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve artifacts: %w", err)
	}
	return nil
}
