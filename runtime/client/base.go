// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const reachTime = 30 * time.Second

// base is one server with one credential: transport, discovery, mapper.
type base struct {
	id    string // of the target
	key   string // id and, for a provider, the login
	users int
	stale bool
	dead  bool

	ready   chan struct{}
	err     error
	config  *rest.Config // with the pool's transport, without identity
	trans   *http.Transport
	mapper  *mapper
	refresh time.Time // when a provider's login must be renewed
}

// base returns the server of a target, reaching it when it is new.
func (p *Pool) base(ctx context.Context, id string, t Target) (*base, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, &TargetError{Field: "pool", Why: "closed"}
	}
	b := p.bases[id]
	if b != nil && !b.refresh.IsZero() && !p.o.Now().Before(b.refresh) {
		p.retire(b)
		b = nil
	}
	fresh := b == nil
	if fresh {
		b = &base{id: id, key: id, ready: make(chan struct{})}
		if t.Provider != nil && t.Kubeconfig == nil {
			p.logins++
			b.key = fmt.Sprintf("%s#%d", id, p.logins)
		}
		p.bases[id] = b
	}
	p.mu.Unlock()
	if fresh {
		b.err = p.open(ctx, b, t)
		if b.err != nil {
			p.mu.Lock()
			if p.bases[id] == b {
				delete(p.bases, id)
			}
			p.mu.Unlock()
		}
		close(b.ready)
		return b, b.err
	}
	select {
	case <-b.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if b.err != nil && ctx.Err() == nil && (errors.Is(b.err, context.Canceled) || errors.Is(b.err, context.DeadlineExceeded)) {
		return p.base(ctx, id, t) // the one who tried gave up
	}
	return b, b.err
}

// retire makes a base and its entries go with their last user; the lock is held.
func (p *Pool) retire(b *base) {
	b.stale = true
	delete(p.bases, b.id)
	for _, e := range p.entries {
		if e.base != b {
			continue
		}
		e.stale = true
		delete(p.entries, e.key)
		if e.el != nil {
			p.idle.Remove(e.el)
			e.el = nil
			b.users--
		}
	}
	if b.users == 0 {
		b.dead = true
		b.close()
	}
}

func (p *Pool) open(ctx context.Context, b *base, t Target) error {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	conf, err := p.login(ctx, b, t)
	if err != nil {
		return err
	}
	remote := t.Kubeconfig != nil || t.Provider != nil
	if remote && conf.Timeout == 0 {
		conf.Timeout = reachTime
	}
	if p.o.UserAgent != "" {
		conf.UserAgent = p.o.UserAgent
	}
	if err := b.connect(conf, p.o.Fence); err != nil {
		return err
	}
	fair, err := b.reach(ctx)
	if err != nil {
		return &UnreachableError{Server: b.config.Host, Err: redactURL(err)}
	}
	b.config.QPS, b.config.Burst = p.o.QPS, p.o.Burst
	if fair || p.o.QPS <= 0 {
		b.config.QPS = -1
	}
	hc, err := rest.HTTPClientFor(b.config)
	if err != nil {
		return err
	}
	dc, err := discovery.NewDiscoveryClientForConfigAndClient(b.config, hc)
	if err != nil {
		return err
	}
	detached := context.WithoutCancel(ctx)
	b.mapper = newMapper(func() (*discoveryResult, error) {
		if p.o.OnDiscovery != nil {
			p.o.OnDiscovery()
		}
		ctx, cancel := context.WithTimeout(detached, reachTime)
		defer cancel()
		return discoverAll(ctx, dc)
	}, p.o.Now)
	return nil
}

func (p *Pool) login(ctx context.Context, b *base, t Target) (*rest.Config, error) {
	switch {
	case t.Kubeconfig != nil:
		return t.Kubeconfig.REST(), nil
	case t.Provider != nil:
		conf, expires, err := t.Provider(ctx)
		if err != nil {
			return nil, err
		}
		if !expires.IsZero() {
			now := p.o.Now()
			b.refresh = now.Add(expires.Sub(now) * 8 / 10)
		}
		return rest.CopyConfig(conf), nil
	default:
		return rest.CopyConfig(p.o.Config), nil
	}
}

// connect gives the base a transport of its own, which no other credential
// shares.
func (b *base) connect(conf *rest.Config, fence func() error) error {
	b.config = conf
	if conf.ExecProvider == nil && conf.AuthProvider == nil && conf.Transport == nil {
		tlsConf, err := rest.TLSConfigFor(conf)
		if err != nil {
			return fmt.Errorf("configure TLS: %w", err)
		}
		dial := conf.Dial
		if dial == nil {
			dial = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
		}
		b.trans = &http.Transport{
			Proxy: conf.Proxy, DialContext: dial, TLSClientConfig: tlsConf, TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 25, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true, DisableCompression: conf.DisableCompression,
		}
		if b.trans.Proxy == nil {
			b.trans.Proxy = http.ProxyFromEnvironment
		}
		c := rest.CopyConfig(conf)
		scheme := "https"
		if tlsConf == nil && strings.HasPrefix(conf.Host, "http://") {
			scheme = "http"
		}
		if !strings.Contains(c.Host, "://") {
			c.Host = scheme + "://" + c.Host
		}
		c.Transport, c.Dial, c.Proxy = b.trans, nil, nil
		c.TLSClientConfig = rest.TLSClientConfig{}
		b.config = c
	}
	if fence != nil {
		b.config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return &fenced{rt: rt, fence: fence} })
	}
	return nil
}

// reach asks the server whether it is there, and whether it does priority and
// fairness.
func (b *base) reach(ctx context.Context) (fair bool, err error) {
	hc, err := rest.HTTPClientFor(b.config)
	if err != nil {
		return false, err
	}
	u, _, err := rest.DefaultServerUrlFor(b.config)
	if err != nil {
		return false, err
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/livez/ping"
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u.String(), nil)
	if err != nil {
		return false, err
	}
	resp, err := hc.Do(req)
	if err != nil {
		return false, err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 1<<10)
	_ = resp.Body.Close()
	return resp.Header.Get("X-Kubernetes-Pf-Flowschema-Uid") != "", nil
}

func (b *base) close() {
	if b.trans != nil {
		b.trans.CloseIdleConnections()
	}
}

// build makes the client of one identity.
func (p *Pool) build(b *base, t Target, e *entry) (*Client, error) {
	conf := rest.CopyConfig(b.config)
	if t.ServiceAccount.Name != "" || t.ServiceAccount.Namespace != "" {
		imp, err := Impersonation(t.ServiceAccount)
		if err != nil {
			return nil, err
		}
		conf.Impersonate = imp
	}
	hc, err := rest.HTTPClientFor(conf)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	c, err := client.New(conf, client.Options{HTTPClient: hc, Scheme: p.o.Scheme, Mapper: b.mapper})
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return &Client{Client: c, Config: conf, Mapper: b.mapper, entry: e}, nil
}

// fenced refuses mutating requests once leadership may be lost.
type fenced struct {
	rt    http.RoundTripper
	fence func() error
}

// RoundTrip implements http.RoundTripper.
func (f *fenced) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
	default:
		if err := f.fence(); err != nil {
			if r.Body != nil {
				_ = r.Body.Close()
			}
			return nil, err
		}
	}
	return f.rt.RoundTrip(r)
}

// WrappedRoundTripper lets client-go find the transport below.
func (f *fenced) WrappedRoundTripper() http.RoundTripper { return f.rt }

// Fence wraps a configuration so that fence is asked before every mutating
// request.
func Fence(conf *rest.Config, fence func() error) *rest.Config {
	c := rest.CopyConfig(conf)
	c.WrapTransport = transport.Wrappers(c.WrapTransport, func(rt http.RoundTripper) http.RoundTripper {
		return &fenced{rt: rt, fence: fence}
	})
	return c
}
