// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"container/list"
	"context"
	"fmt"
	"io"
	"reflect"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	poolSize = 500
	poolIdle = 30 * time.Minute
)

// Options of a [Pool].
type Options struct {
	// Config reaches this cluster as the controller. Required.
	Config *rest.Config
	// Scheme of the clients; nil is client-go's.
	Scheme *runtime.Scheme
	// QPS and Burst limit requests per server and identity, unless the server
	// does priority and fairness; QPS ≤ 0 is no limit.
	QPS   float32
	Burst int
	// UserAgent of the requests; "" is client-go's.
	UserAgent string
	// Size is the number of pooled clients; 0 is 500.
	Size int
	// Idle is how long an unused client is kept; 0 is 30 minutes.
	Idle time.Duration
	// Fence, when set, is asked before every mutating request; an error refuses
	// it.
	Fence func() error
	// OnHit, OnDiscovery and OnSize, when set, are called for metrics.
	OnHit       func()
	OnDiscovery func()
	OnSize      func(int)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Flags is the flag group of the package.
type Flags struct {
	// QPS is --kube-api-qps.
	QPS float32
	// Burst is --kube-api-burst.
	Burst int
	// DefaultServiceAccount is --default-service-account.
	DefaultServiceAccount string
}

// AddFlags registers the flags with their defaults.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	fs.Float32Var(&f.QPS, "kube-api-qps", 50, "The maximum queries-per-second of requests sent to the Kubernetes API.")
	fs.IntVar(&f.Burst, "kube-api-burst", 300, "The maximum burst queries-per-second of requests sent to the Kubernetes API.")
	fs.StringVar(&f.DefaultServiceAccount, "default-service-account", "", "Default service account used for impersonation.")
}

// Pool hands out clients. Use [NewPool].
type Pool struct {
	o Options

	mu      sync.Mutex
	bases   map[string]*base
	entries map[string]*entry
	idle    *list.List // of *entry without users, most recently used first
	logins  uint64     // of providers: each makes a base of its own
	closed  bool
}

// Client is a pooled client of one identity on one server.
type Client struct {
	client.Client
	// Config reaches the server as the identity; its transport is the pool's.
	Config *rest.Config
	// Mapper is shared by all identities of the server and credential.
	Mapper meta.RESTMapper

	entry *entry
	once  *sync.Once
}

// entry is one identity on one server.
type entry struct {
	pool *Pool
	key  string
	base *base

	ready chan struct{} // closed when client or err is set
	c     *Client
	err   error

	refs   int
	stale  bool
	used   time.Time
	el     *list.Element
	mu     sync.Mutex
	shared map[reflect.Type]*once
}

// once builds one shared value.
type once struct {
	sync.Mutex
	done  bool
	value any
}

// NewPool returns an empty pool; nothing is sent before the first Get.
func NewPool(o Options) (*Pool, error) {
	if o.Config == nil {
		return nil, &TargetError{Field: "config", Why: "missing"}
	}
	if o.Size <= 0 {
		o.Size = poolSize
	}
	if o.Idle <= 0 {
		o.Idle = poolIdle
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Pool{o: o, bases: map[string]*base{}, entries: map[string]*entry{}, idle: list.New()}, nil
}

// Get returns the client of a target. A warm one costs no request; a new one
// reaches the server once, for at most 30 seconds, and fails with an
// [*UnreachableError] otherwise. In a run of the reconcile harness it is
// released when the run, parked or not, ends; elsewhere with [Client.Release].
func (p *Pool) Get(ctx context.Context, t Target) (*Client, error) {
	baseKey, user, err := t.key()
	if err != nil {
		return nil, err
	}
	b, err := p.base(ctx, baseKey, t)
	if err != nil {
		return nil, err
	}
	e, fresh := p.acquire(b, user)
	if fresh {
		e.c, e.err = p.build(b, t, e)
		close(e.ready)
	} else {
		select {
		case <-e.ready:
		case <-ctx.Done():
			p.release(e)
			return nil, ctx.Err()
		}
		if e.err == nil && p.o.OnHit != nil {
			p.o.OnHit()
		}
	}
	if e.err != nil {
		err := e.err
		p.discard(e)
		return nil, err
	}
	c := *e.c
	c.once = &sync.Once{}
	if s := scopeOf(ctx); s != nil {
		s.add(&c)
	}
	return &c, nil
}

// Release gives the client back. Further calls do nothing.
func (c *Client) Release() {
	if c == nil || c.entry == nil || c.once == nil {
		return
	}
	c.once.Do(func() { c.entry.pool.release(c.entry) })
}

// Shared returns the one value of type T of this pooled client, made by create
// on first use. It is closed with the client if it is an io.Closer. A failed
// create is tried again next time.
func Shared[T any](c *Client, create func(*Client) (T, error)) (T, error) {
	var zero T
	if c == nil || c.entry == nil {
		return zero, &TargetError{Field: "client", Why: "not from a pool"}
	}
	typ := reflect.TypeFor[T]()
	e := c.entry
	e.mu.Lock()
	if e.shared == nil {
		e.shared = map[reflect.Type]*once{}
	}
	o := e.shared[typ]
	if o == nil {
		o = &once{}
		e.shared[typ] = o
	}
	e.mu.Unlock()
	o.Lock()
	defer o.Unlock()
	if o.done {
		v, ok := o.value.(T)
		if !ok {
			return zero, fmt.Errorf("shared value is %T", o.value)
		}
		return v, nil
	}
	v, err := create(e.c)
	if err != nil {
		return zero, err
	}
	o.value, o.done = v, true
	return v, nil
}

// Sweep evicts clients that were idle for too long; the harness calls it once
// a minute.
func (p *Pool) Sweep() {
	p.mu.Lock()
	var out []*entry
	now := p.o.Now()
	for el := p.idle.Back(); el != nil; {
		prev := el.Prev()
		if e, ok := el.Value.(*entry); ok && now.Sub(e.used) >= p.o.Idle {
			out = append(out, p.evict(e))
		}
		el = prev
	}
	p.mu.Unlock()
	closeAll(out)
}

// Len returns the number of pooled clients.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.entries)
}

// Close evicts everything; clients in use are closed by their last release.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	var out []*entry
	for _, e := range p.entries {
		e.stale = true
		if e.refs == 0 {
			out = append(out, p.evict(e))
		}
	}
	p.mu.Unlock()
	closeAll(out)
}

// acquire returns the entry of a user with one more reference.
func (p *Pool) acquire(b *base, user string) (e *entry, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := b.key + "\x00" + user
	if e = p.entries[key]; e != nil {
		e.refs++
		if e.el != nil {
			p.idle.Remove(e.el)
			e.el = nil
		}
		return e, false
	}
	e = &entry{pool: p, key: key, base: b, ready: make(chan struct{}), refs: 1, used: p.o.Now()}
	p.entries[key] = e
	b.users++
	p.size()
	return e, true
}

func (p *Pool) release(e *entry) {
	var out []*entry
	p.mu.Lock()
	e.refs--
	e.used = p.o.Now()
	if e.refs == 0 {
		switch {
		case e.stale || p.closed:
			out = append(out, p.evict(e))
		case e.el == nil && p.entries[e.key] == e:
			e.el = p.idle.PushFront(e)
		}
		for len(p.entries) > p.o.Size && p.idle.Len() > 0 {
			last, ok := p.idle.Back().Value.(*entry)
			if !ok {
				break
			}
			out = append(out, p.evict(last))
		}
	}
	p.mu.Unlock()
	closeAll(out)
}

// discard drops an entry that could not be built.
func (p *Pool) discard(e *entry) {
	p.mu.Lock()
	e.stale = true
	if p.entries[e.key] == e {
		delete(p.entries, e.key)
	}
	p.mu.Unlock()
	p.release(e)
}

// evict removes e; the caller holds the lock and closes it afterwards.
func (p *Pool) evict(e *entry) *entry {
	if p.entries[e.key] == e {
		delete(p.entries, e.key)
	}
	if e.el != nil {
		p.idle.Remove(e.el)
		e.el = nil
	}
	e.base.users--
	if e.base.users == 0 && (e.base.stale || e.base.key != "local" || p.closed) {
		if p.bases[e.base.id] == e.base {
			delete(p.bases, e.base.id)
		}
		e.base.dead = true
	}
	p.size()
	return e
}

func (p *Pool) size() {
	if p.o.OnSize != nil {
		p.o.OnSize(len(p.entries))
	}
}

// closeAll closes shared values, then connections of servers nobody uses.
func closeAll(list []*entry) {
	for _, e := range list {
		e.mu.Lock()
		for _, o := range e.shared {
			o.Lock()
			if c, ok := o.value.(io.Closer); ok && o.done {
				_ = c.Close()
			}
			o.Unlock()
		}
		e.shared = nil
		e.mu.Unlock()
		if e.base.dead {
			e.base.close()
		}
	}
}
