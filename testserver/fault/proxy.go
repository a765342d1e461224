// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/testserver/internal/listen"
	"github.com/gitops-kit/sdk/testserver/pki"
	"github.com/gitops-kit/sdk/testserver/record"
)

// ErrUpstream reports an upstream that is neither an HTTP URL nor host:port.
var ErrUpstream = errors.New("upstream is neither a URL nor host:port")

// ProxyOptions configure a [Proxy]. Only Upstream is required.
type ProxyOptions struct {
	// Upstream is an http or https URL, for a proxy that understands requests,
	// or "host:port", for one that copies bytes.
	Upstream string
	// Transport reaches an HTTP upstream; nil: a plain one without any proxy.
	Transport http.RoundTripper
	// TLS serves HTTPS with a certificate of a new authority.
	TLS bool
	// HTTP2 offers HTTP/2 over TLS.
	HTTP2 bool
	// Plans are the plans to begin with.
	Plans []Plan
	// Route names requests for the log and for plans; nil: no names.
	Route func(*http.Request) string
}

// Proxy stands in front of a server and applies fault plans. In front of an
// HTTP server it knows requests; a plan that matches "TCP" as method belongs to
// a proxy that copies bytes: there a request is a connection, and byte
// positions count what the server sends. A Proxy is safe for concurrent use.
type Proxy struct {
	opts   ProxyOptions
	ln     *listen.Listener
	ca     *pki.CA
	log    *record.Log
	set    Set
	http   *http.Server
	own    *http.Transport
	ctx    context.Context //nolint:containedctx // the proxy's life
	cancel context.CancelFunc
	unhook func() bool
	wg     sync.WaitGroup
	stop   sync.Once

	mu       sync.Mutex
	upstream string
}

// StartProxy runs a proxy for the length of a test.
func StartProxy(tb testing.TB, upstream string, plans ...Plan) *Proxy {
	tb.Helper()
	p, err := RunProxy(context.WithoutCancel(tb.Context()), ProxyOptions{Upstream: upstream, Plans: plans})
	if err != nil {
		tb.Fatalf("start proxy: %v", err)
	}
	tb.Cleanup(p.Stop)
	return p
}

// RunProxy starts a proxy that ends with ctx or Stop.
func RunProxy(ctx context.Context, o ProxyOptions) (*Proxy, error) {
	p := &Proxy{opts: o, log: record.NewLog(), upstream: o.Upstream}
	p.set.Set(o.Plans...)
	isHTTP := strings.HasPrefix(o.Upstream, "http://") || strings.HasPrefix(o.Upstream, "https://")
	if _, _, err := net.SplitHostPort(o.Upstream); err != nil && !isHTTP {
		return nil, fmt.Errorf("proxy to %q: %w", o.Upstream, ErrUpstream)
	}
	ln, err := listen.Loopback(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	p.ln = ln
	var l net.Listener = ln
	if o.TLS {
		conf, err := p.tlsConfig()
		if err != nil {
			_ = ln.Close()
			return nil, err
		}
		l = tls.NewListener(ln, conf)
	}
	p.ctx, p.cancel = context.WithCancel(ctx)
	if isHTTP {
		p.serveHTTP(l)
	} else {
		p.wg.Go(func() { p.accept(l) })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unhook = context.AfterFunc(ctx, p.Stop)
	return p, nil
}

func (p *Proxy) tlsConfig() (*tls.Config, error) {
	ca, err := pki.NewCA("test proxy authority")
	if err != nil {
		return nil, err
	}
	p.ca = ca
	pair, err := ca.Server("localhost", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	cert, err := pair.TLS()
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
	if p.opts.HTTP2 {
		conf.NextProtos = []string{"h2", "http/1.1"}
	}
	return conf, nil
}

func (p *Proxy) serveHTTP(l net.Listener) {
	rt := p.opts.Transport
	if rt == nil {
		p.own = &http.Transport{DisableCompression: true}
		rt = p.own
	}
	rp := &httputil.ReverseProxy{
		Transport:     rt,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			if u, err := url.Parse(p.currentUpstream()); err == nil {
				r.SetURL(u)
			}
			r.Out.Host = r.Out.URL.Host
		},
	}
	p.http = &http.Server{
		Handler:           &Handler{Context: p.ctx, Next: rp, Plans: &p.set, Log: p.log, Route: p.opts.Route},
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
		BaseContext:       func(net.Listener) context.Context { return p.ctx },
		ConnContext:       ConnContext,
	}
	if !p.opts.HTTP2 {
		p.http.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	p.wg.Go(func() { _ = p.http.Serve(l) })
}

func (p *Proxy) currentUpstream() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.upstream
}

func (p *Proxy) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.tcp(c) })
	}
}

// tcp copies one connection both ways.
func (p *Proxy) tcp(c net.Conn) {
	defer func() { _ = c.Close() }()
	upstream := p.currentUpstream()
	plan := p.set.Pick("TCP", upstream, "tcp")
	req := record.Request{Method: "TCP", Path: upstream, Route: "tcp"}
	if cc := listen.Find(c); cc != nil {
		req.Conn = cc.ID
	}
	if plan == nil {
		plan = &Plan{}
	} else {
		req.Fault = plan.String()
	}
	e := p.log.Begin(req)
	defer e.End()
	if sleep(p.ctx, plan.Delay) != nil {
		return
	}
	if plan.RST && plan.CutAfter == 0 && !plan.Drop {
		Close(c, true)
		return
	}
	up, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(p.ctx, "tcp", upstream)
	if err != nil {
		Close(c, true)
		return
	}
	defer func() { _ = up.Close() }()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = up.Close(); _ = c.Close() })()
	var in int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		in, _ = io.Copy(up, c)
		if t, ok := up.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
		if plan.Stall > 0 { // the client has left
			cancel()
		}
	}()
	cut := func() { Close(c, plan.RST) }
	var dst io.Writer = c
	if plan.Drop {
		dst = dropper{cut}
	}
	out := NewStream(ctx, dst, *plan, cut)
	_, _ = io.Copy(out, up)
	if t, ok := c.(interface{ CloseWrite() error }); ok {
		_ = t.CloseWrite()
	} else {
		_ = c.Close()
	}
	_ = up.Close()
	_ = c.Close()
	<-done
	e.Update(func(r *record.Request) { r.Bytes, r.BodySize = out.Bytes(), in })
}

// dropper ends the connection when the server answers.
type dropper struct{ cut func() }

func (d dropper) Write([]byte) (int, error) {
	d.cut()
	return 0, ErrCut
}

// URL returns the proxy's address as a URL with the upstream's path, or
// "host:port" for a proxy that copies bytes.
func (p *Proxy) URL() string {
	if p.http == nil {
		return p.Addr()
	}
	scheme := "http"
	if p.ca != nil {
		scheme = "https"
	}
	return scheme + "://" + p.Addr()
}

// Addr returns "127.0.0.1:port".
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// CA returns the authority's certificate as PEM; nil without TLS.
func (p *Proxy) CA() []byte {
	if p.ca == nil {
		return nil
	}
	return p.ca.PEM()
}

// SetUpstream sends later requests and connections elsewhere.
func (p *Proxy) SetUpstream(upstream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upstream = upstream
}

// SetFaults replaces the plans.
func (p *Proxy) SetFaults(plans ...Plan) { p.set.Set(plans...) }

// Log returns the requests or connections seen so far, oldest first.
func (p *Proxy) Log() []record.Request { return p.log.Requests() }

// Count returns how many recorded requests match.
func (p *Proxy) Count(m Match) int { return p.log.Count(m) }

// Wait returns when n requests match, or with an error when ctx ends.
func (p *Proxy) Wait(ctx context.Context, m Match, n int) error { return p.log.Wait(ctx, m, n) }

// Pause resets all connections, and new ones until Resume.
func (p *Proxy) Pause() { p.ln.Pause() }

// Blackhole stops all traffic without closing anything, until Resume.
func (p *Proxy) Blackhole() { p.ln.Freeze() }

// Resume ends Pause and Blackhole.
func (p *Proxy) Resume() { p.ln.Resume() }

// Reset resets all connections.
func (p *Proxy) Reset() { p.ln.Reset() }

// Connections returns the number of open connections.
func (p *Proxy) Connections() int { return p.ln.Open() }

// Stop ends the proxy. Later calls do nothing.
func (p *Proxy) Stop() {
	p.stop.Do(func() {
		p.mu.Lock()
		p.unhook()
		p.mu.Unlock()
		p.cancel()
		if p.http != nil {
			_ = p.http.Close()
		}
		_ = p.ln.Close()
		p.ln.Reset()
		p.wg.Wait()
		if p.own != nil {
			p.own.CloseIdleConnections()
		}
	})
}
