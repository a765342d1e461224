// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/wire"
)

// Pool keeps connections, and what is known about servers, between operations
// and Clients. Connections are shared only between Clients that would have
// made the same one: same address, credential identity, proxy, TLS material and
// host key policy. It is safe for concurrent use.
type Pool struct {
	mu     sync.Mutex
	web    map[webKey]*http.Transport
	ssh    map[sshKey]*sshSlot
	known  map[serverKey]serverMemory
	closed bool

	sshIdle, sshKeepAlive time.Duration
}

const (
	maxTransports = 256
	maxKnown      = 10_000
	sshPerKey     = 2
)

// NewPool returns an empty Pool.
func NewPool() *Pool {
	return &Pool{
		web: map[webKey]*http.Transport{}, ssh: map[sshKey]*sshSlot{}, known: map[serverKey]serverMemory{},
		sshIdle: 60 * time.Second, sshKeepAlive: 15 * time.Second,
	}
}

// Close closes idle connections; those in use close when they are done. A
// closed Pool keeps nothing from then on.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	web, ssh := p.web, p.ssh
	p.web, p.ssh = map[webKey]*http.Transport{}, map[sshKey]*sshSlot{}
	p.mu.Unlock()
	for _, t := range web {
		t.CloseIdleConnections()
	}
	var errs []error
	for _, s := range ssh {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// serverKey says whose word a memory is: that of a host, or of a repository, as
// it was reached. A proxy or an authority of one tenant's own must not teach
// another tenant what a public host can do.
type serverKey struct {
	tls        *tls.Config
	proxy, url string
}

// serverMemory is what a server once said.
type serverMemory struct {
	version int
	caps    wire.Caps
	format  driver.Format
}

// remember notes how a repository answered. What holds for the host is the
// version; the object format belongs to the repository.
func (p *Pool) remember(host, repo serverKey, m serverMemory) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= maxKnown {
		clear(p.known)
	}
	p.known[repo] = m
	if m.version == 2 {
		p.known[host] = m
	}
}

// recall returns what is known of a repository, or of its host. Only version 2
// is believed of a host.
func (p *Pool) recall(host, repo serverKey) (serverMemory, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, ok := p.known[repo]
	if !ok {
		m, ok = p.known[host]
	}
	return m, ok
}

func (p *Pool) forget(host, repo serverKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, host)
	delete(p.known, repo)
}

// transport returns the HTTP transport for a key, made by build the first time.
func (p *Pool) transport(k webKey, build func() *http.Transport) *http.Transport {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t, ok := p.web[k]; ok {
		return t
	}
	t := build()
	if p.closed {
		t.DisableKeepAlives = true
		return t
	}
	if len(p.web) >= maxTransports { // forget one; its connections die of old age
		for old, t := range p.web {
			t.CloseIdleConnections()
			delete(p.web, old)
			break
		}
	}
	p.web[k] = t
	return t
}

func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) //nolint:gosec // spreads retries, protects nothing
}

// detached is a context that keeps values but not the end of ctx, for clean-up
// and for connections that outlive the operation.
func detached(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }
