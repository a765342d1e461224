// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/record"
	"github.com/gitops-kit/sdk/testserver/serve"
)

// Request is an entry of the server's log.
type Request = record.Request

// Match selects entries of the log and requests for fault plans.
type Match = record.Match

// Server is a Git server. It is safe for concurrent use.
type Server struct {
	*serve.Server
	opts   Options
	guard  guard
	ssh    *sshServer
	errorf func(string, ...any)
	root   string // Exec backend: where the repositories are

	mu    sync.Mutex
	repos map[string]*Repo
	errs  []error

	lfsTokens map[string]lfsGrant
	stop      sync.Once
	rm        func()
}

// Start runs a server for the length of a test.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := run(context.WithoutCancel(tb.Context()), o, tb.Errorf)
	if err != nil {
		tb.Fatalf("start git server: %v", err)
	}
	serve.Cleanup(tb, s.Stop, s.Tail)
	return s
}

// Run starts a server that ends with ctx or Stop.
func Run(ctx context.Context, o Options) (*Server, error) {
	return run(ctx, o, nil)
}

func run(ctx context.Context, o Options, errorf func(string, ...any)) (*Server, error) {
	if o.ObjectFormat == "" {
		o.ObjectFormat = SHA1
	}
	if o.MaxVersion == 0 {
		o.MaxVersion = 2
	}
	s := &Server{opts: o, repos: map[string]*Repo{}, lfsTokens: map[string]lfsGrant{}, errorf: errorf, rm: func() {}}
	s.guard.set(o.Auth)
	if o.Backend == Exec {
		dir, err := os.MkdirTemp("", "gitserver-")
		if err != nil {
			return nil, err
		}
		s.root, s.rm = dir, func() { _ = os.RemoveAll(dir) }
	}
	h, err := serve.Listen(ctx, http.HandlerFunc(s.serveHTTP), serve.Options{
		TLS: o.TLS, RequireClientCert: o.RequireClientCert, HTTP2: o.HTTP2, IPv6: o.IPv6,
		Hosts: o.Hosts, Faults: o.Faults, Route: route,
	})
	if err != nil {
		s.rm()
		return nil, err
	}
	s.Server = h
	if o.SSH != nil {
		if s.ssh, err = s.startSSH(ctx, *o.SSH); err != nil {
			s.Stop()
			return nil, fmt.Errorf("start ssh server: %w", err)
		}
	}
	h.Serve()
	return s, nil
}

// Stop ends the server within two seconds. Later calls do nothing.
func (s *Server) Stop() {
	s.stop.Do(func() {
		if s.ssh != nil {
			s.ssh.close()
		}
		s.Server.Stop()
		s.rm()
	})
}

// Pause begins an outage of HTTP and SSH; the ports stay.
func (s *Server) Pause() {
	s.Server.Pause()
	if s.ssh != nil {
		s.ssh.ln.Pause()
	}
}

// Blackhole stops all traffic of HTTP and SSH without closing anything: clients
// see half-open connections. Resume ends it.
func (s *Server) Blackhole() {
	s.Server.Blackhole()
	if s.ssh != nil {
		s.ssh.ln.Freeze()
	}
}

// Resume ends an outage.
func (s *Server) Resume() {
	s.Server.Resume()
	if s.ssh != nil {
		s.ssh.ln.Resume()
	}
}

// Restart resets all connections; ports, repositories and log stay.
func (s *Server) Restart() {
	s.Server.Restart()
	if s.ssh != nil {
		s.ssh.ln.Reset()
	}
}

// SetFaults replaces the fault plans of HTTP and SSH.
func (s *Server) SetFaults(plans ...fault.Plan) {
	s.Server.SetFaults(plans...)
	if s.ssh != nil {
		s.ssh.faults.Set(plans...)
	}
}

// SetAuth replaces the authentication; expired credentials are valid again.
func (s *Server) SetAuth(a Auth) { s.guard.set(a) }

// fail reports an error of a method that changes content.
func (s *Server) fail(err error) {
	s.mu.Lock()
	s.errs = append(s.errs, err)
	s.mu.Unlock()
	if s.errorf != nil {
		s.errorf("git server: %v", err)
	}
}

// Err returns the errors of methods that changed content, joined.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.errs...)
}

// Repo returns the repository of this name, made if there is none: empty, with
// HEAD on main. A ".git" at the end of the name does not count.
func (s *Server) Repo(name string) *Repo {
	return s.repo(name, s.opts.ObjectFormat)
}

// RepoFormat is Repo with another object format for a new repository.
func (s *Server) RepoFormat(name string, f ObjectFormat) *Repo {
	return s.repo(name, f)
}

func (s *Server) repo(name string, f ObjectFormat) *Repo {
	name = cleanName(name)
	s.mu.Lock()
	r := s.repos[name]
	if r != nil {
		s.mu.Unlock()
		return r
	}
	r = &Repo{
		srv: s, name: name, format: f, store: newStore(f, nil),
		refs: map[string]Hash{}, head: "refs/heads/main", opts: s.opts.Repo, lfs: map[string][]byte{},
	}
	s.repos[name] = r
	s.mu.Unlock()
	if s.opts.Backend == Exec {
		if err := r.initDisk(s.root); err != nil {
			s.fail(fmt.Errorf("create repository %q: %w", name, err))
		}
	}
	return r
}

// RemoveRepo makes a repository disappear: clients get 404.
func (s *Server) RemoveRepo(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.repos, cleanName(name))
}

func (s *Server) find(name string) *Repo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repos[cleanName(name)]
}

func cleanName(name string) string {
	return strings.TrimSuffix(strings.Trim(name, "/"), ".git")
}

// version is the protocol version for a client's request for one.
func (s *Server) version(asked string) int {
	if s.opts.V0Only {
		return 0
	}
	v := 0
	for part := range strings.SplitSeq(asked, ":") {
		switch part {
		case "version=1":
			v = max(v, 1)
		case "version=2":
			v = max(v, 2)
		}
	}
	if v > s.opts.MaxVersion {
		return 0
	}
	return v
}
