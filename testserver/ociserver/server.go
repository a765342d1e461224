// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ociserver

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/testserver/record"
	"github.com/gitops-kit/sdk/testserver/serve"
)

// Request is an entry of the server's log.
type Request = record.Request

// Match selects entries of the log and requests for fault plans.
type Match = record.Match

// Server is a registry. It is safe for concurrent use.
type Server struct {
	*serve.Server
	opts   Options
	dir    string
	errorf func(string, ...any)
	stop   sync.Once

	mu      sync.Mutex
	auth    Auth
	repos   map[string]*repository
	uploads map[string]*upload
	tokens  map[string]*token
	refresh map[string]string // refresh token → user
	errs    []error
}

// Start runs a registry for the length of a test.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := run(context.WithoutCancel(tb.Context()), o, tb.Errorf)
	if err != nil {
		tb.Fatalf("start registry: %v", err)
	}
	serve.Cleanup(tb, s.Stop, s.Tail)
	return s
}

// Run starts a registry that ends with ctx or Stop.
func Run(ctx context.Context, o Options) (*Server, error) {
	return run(ctx, o, nil)
}

func run(ctx context.Context, o Options, errorf func(string, ...any)) (*Server, error) {
	dir, err := os.MkdirTemp("", "ociserver-")
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts: o, dir: dir, errorf: errorf, auth: o.Auth, repos: map[string]*repository{}, uploads: map[string]*upload{},
		tokens: map[string]*token{}, refresh: map[string]string{},
	}
	h, err := serve.Listen(ctx, http.HandlerFunc(s.serve), serve.Options{
		TLS: o.TLS, RequireClientCert: o.RequireClientCert, HTTP2: o.HTTP2, IPv6: o.IPv6, Hosts: o.Hosts,
		Faults: o.Faults, Route: func(r *http.Request) string { return parsePath(r.URL.Path).route },
	})
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	s.Server = h
	h.Serve()
	context.AfterFunc(ctx, s.Stop)
	return s, nil
}

// Stop ends the server within two seconds and removes its blobs. Later calls
// do nothing.
func (s *Server) Stop() {
	s.stop.Do(func() {
		s.Server.Stop()
		s.mu.Lock()
		for _, u := range s.uploads {
			_ = u.file.Close()
		}
		s.mu.Unlock()
		_ = os.RemoveAll(s.dir)
	})
}

// Host returns "127.0.0.1:port", the registry part of a reference.
func (s *Server) Host() string { return s.Addr() }

// SetAuth replaces the authentication and forgets all tokens.
func (s *Server) SetAuth(a Auth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth = a
	clear(s.tokens)
	clear(s.refresh)
}

// SetRealm replaces the URL of the token endpoint in challenges; "" is the own one.
func (s *Server) SetRealm(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth.Realm = url
}

// Configure changes the options while the server runs. Those that concern the
// listener, faults and authentication have no effect here.
func (s *Server) Configure(change func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.opts)
}

func (s *Server) options() Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opts
}

func (s *Server) fail(err error) {
	s.mu.Lock()
	s.errs = append(s.errs, err)
	s.mu.Unlock()
	if s.errorf != nil {
		s.errorf("registry: %v", err)
	}
}

// Err returns the errors of methods that store content, joined.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.errs...)
}
