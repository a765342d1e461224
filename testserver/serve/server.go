// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/internal/listen"
	"github.com/gitops-kit/sdk/testserver/pki"
	"github.com/gitops-kit/sdk/testserver/record"
)

// stopTimeout bounds how long Stop waits for handlers, below the two seconds a
// test server may take to end.
const stopTimeout = 1500 * time.Millisecond

// Options configure a [Server]. The zero value is plain HTTP/1.1 on 127.0.0.1.
type Options struct {
	// TLS serves HTTPS with a certificate of a new authority.
	TLS bool
	// RequireClientCert demands a certificate of the same authority; it implies TLS.
	RequireClientCert bool
	// HTTP2 offers HTTP/2 over TLS.
	HTTP2 bool
	// IPv6 listens on ::1 instead of 127.0.0.1.
	IPv6 bool
	// Hosts are further names in the certificate; "localhost" and the address
	// are always in it.
	Hosts []string
	// Faults are the plans to begin with.
	Faults []fault.Plan
	// Route names a request for the log and for plans; nil: no names.
	Route func(*http.Request) string
	// Log is the log to use; nil: a new one.
	Log *record.Log
}

// Server is a running HTTP server.
type Server struct {
	opts    Options
	handler http.Handler
	ln      *listen.Listener
	accept  net.Listener // ln, with TLS if there is any
	http    *http.Server
	ca      *pki.CA
	log     *record.Log
	faults  fault.Set
	ctx     context.Context //nolint:containedctx // the server's life
	cancel  context.CancelFunc
	active  sync.WaitGroup
	loop    sync.WaitGroup
	stop    sync.Once
	life    sync.Mutex // guards unhook
	unhook  func() bool
}

// Start runs a server for the length of a test. It fails the test on error and,
// if the test fails, prints the newest requests.
func Start(tb testing.TB, h http.Handler, o Options) *Server {
	tb.Helper()
	s, err := Run(context.WithoutCancel(tb.Context()), h, o)
	if err != nil {
		tb.Fatalf("start server: %v", err)
	}
	Cleanup(tb, s.Stop, s.Tail)
	return s
}

// Cleanup registers stop with the test, and has tail printed if the test failed.
func Cleanup(tb testing.TB, stop func(), tail func() string) {
	tb.Helper()
	tb.Cleanup(func() {
		stop()
		if tb.Failed() {
			tb.Log(tail())
		}
	})
}

// Run starts a server that ends with ctx or Stop.
func Run(ctx context.Context, h http.Handler, o Options) (*Server, error) {
	s, err := Listen(ctx, h, o)
	if err != nil {
		return nil, err
	}
	s.Serve()
	return s, nil
}

// Listen is Run for handlers that need the server: requests wait until Serve,
// which must be called once.
func Listen(ctx context.Context, h http.Handler, o Options) (*Server, error) {
	s := &Server{opts: o, log: o.Log}
	if s.log == nil {
		s.log = record.NewLog()
	}
	s.faults.Set(o.Faults...)
	ln, err := listen.Loopback(ctx, o.IPv6)
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	s.ln = ln
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.handler = &fault.Handler{Context: s.ctx, Next: h, Plans: &s.faults, Log: s.log, Route: o.Route}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnContext:       fault.ConnContext,
	}
	var l net.Listener = ln
	if o.TLS || o.RequireClientCert {
		conf, err := s.tlsConfig()
		if err != nil {
			s.cancel()
			_ = ln.Close()
			return nil, err
		}
		l = tls.NewListener(ln, conf)
		s.http.TLSConfig = conf
	}
	if !o.HTTP2 {
		s.http.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	s.accept = l
	s.life.Lock()
	defer s.life.Unlock()
	s.unhook = context.AfterFunc(ctx, s.Stop)
	return s, nil
}

// Serve begins to answer requests. It does not block.
func (s *Server) Serve() {
	s.loop.Go(func() { _ = s.http.Serve(s.accept) })
}

func (s *Server) tlsConfig() (*tls.Config, error) {
	ca, err := pki.NewCA("test server authority")
	if err != nil {
		return nil, err
	}
	s.ca = ca
	host, _, err := net.SplitHostPort(s.ln.Addr().String())
	if err != nil {
		return nil, err
	}
	pair, err := ca.Server(append([]string{"localhost", host}, s.opts.Hosts...)...)
	if err != nil {
		return nil, err
	}
	cert, err := pair.TLS()
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
	if s.opts.HTTP2 {
		conf.NextProtos = []string{"h2", "http/1.1"}
	}
	if s.opts.RequireClientCert {
		conf.ClientAuth, conf.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	}
	return conf, nil
}

// SetUser records the authenticated name of the request with this context.
func SetUser(ctx context.Context, name string) {
	if name != "" {
		fault.Update(ctx, func(r *record.Request) { r.User = name })
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.active.Add(1)
	defer s.active.Done()
	s.handler.ServeHTTP(w, r)
}

// URL returns "http://127.0.0.1:port" or its https form, without a final slash.
func (s *Server) URL() string {
	scheme := "http"
	if s.ca != nil {
		scheme = "https"
	}
	return scheme + "://" + s.Addr()
}

// Addr returns "127.0.0.1:port".
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Log returns the requests seen so far, oldest first.
func (s *Server) Log() []record.Request { return s.log.Requests() }

// Recorder returns the log itself.
func (s *Server) Recorder() *record.Log { return s.log }

// Count returns how many recorded requests match.
func (s *Server) Count(m record.Match) int { return s.log.Count(m) }

// Wait returns when n requests match, or with an error when ctx ends.
func (s *Server) Wait(ctx context.Context, m record.Match, n int) error {
	return s.log.Wait(ctx, m, n)
}

// SetFaults replaces the fault plans, also for requests being retried now.
func (s *Server) SetFaults(plans ...fault.Plan) { s.faults.Set(plans...) }

// CA returns the authority's certificate as PEM; nil without TLS.
func (s *Server) CA() []byte {
	if s.ca == nil {
		return nil
	}
	return s.ca.PEM()
}

// Authority returns the certificate authority; nil without TLS.
func (s *Server) Authority() *pki.CA { return s.ca }

// ErrNoTLS reports that a certificate was asked of a server without TLS.
var ErrNoTLS = errors.New("server has no TLS")

// ClientCert issues a client certificate that this server accepts.
func (s *Server) ClientCert(name string) (pki.KeyPair, error) {
	if s.ca == nil {
		return pki.KeyPair{}, ErrNoTLS
	}
	return s.ca.Client(name)
}

// Client returns an HTTP client that trusts this server and, if the server asks
// for one, has a client certificate. Close its idle connections when done.
func (s *Server) Client() *http.Client {
	tr := &http.Transport{Proxy: nil, ForceAttemptHTTP2: s.opts.HTTP2}
	if s.ca != nil {
		conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.Pool()}
		if pair, err := s.ca.Client("client"); err == nil {
			if c, err := pair.TLS(); err == nil {
				conf.Certificates = []tls.Certificate{c}
			}
		}
		tr.TLSClientConfig = conf
	}
	return &http.Client{Transport: tr}
}

// Pool returns a pool with the server's authority; nil without TLS.
func (s *Server) Pool() *x509.CertPool {
	if s.ca == nil {
		return nil
	}
	return s.ca.Pool()
}

// Pause begins an outage: open connections are reset, new ones too. The port stays.
func (s *Server) Pause() { s.ln.Pause() }

// Blackhole stops all traffic without closing anything: clients see half-open
// connections. Resume ends it.
func (s *Server) Blackhole() { s.ln.Freeze() }

// Resume ends an outage.
func (s *Server) Resume() { s.ln.Resume() }

// Restart resets all connections; port, data and log stay.
func (s *Server) Restart() { s.ln.Reset() }

// Connections returns the number of open connections.
func (s *Server) Connections() int { return s.ln.Open() }

// Stop ends the server within two seconds. Later calls do nothing.
func (s *Server) Stop() {
	s.stop.Do(func() {
		s.life.Lock()
		s.unhook()
		s.life.Unlock()
		s.cancel()
		_ = s.http.Close()
		_ = s.ln.Close()
		s.ln.Reset()
		s.loop.Wait()
		done := make(chan struct{})
		go func() { s.active.Wait(); close(done) }()
		t := time.NewTimer(stopTimeout)
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
		}
	})
}

// Tail returns the newest requests, one a line, at most 64 KiB.
func (s *Server) Tail() string {
	return Tail("server "+s.Addr(), s.log)
}

// Tail formats the newest requests of a log, one a line, at most 64 KiB.
func Tail(title string, l *record.Log) string {
	var lines []string
	size := 0
	all := l.Requests()
	for _, r := range slices.Backward(all) {
		line := fmt.Sprintf("%5d %s %-6s %s %d %dB conn=%d fault=%q", r.Seq, r.Time.Format("15:04:05.000"), r.Method, r.Path, r.Status, r.Bytes, r.Conn, r.Fault)
		if size += len(line) + 1; size > 60<<10 {
			break
		}
		lines = append(lines, line)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d requests\n", title, l.Total())
	for _, line := range slices.Backward(lines) {
		b.WriteString(line + "\n")
	}
	return b.String()
}
