// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/artifact/internal/fail"
	"github.com/gitops-kit/sdk/untar/digest"
)

// CacheOptions control a [Cache]. The zero value is a cache in a private
// temporary directory with the defaults.
type CacheOptions struct {
	// Dir holds the trees. Empty: a private directory, removed by Close. A
	// second process that uses the same Dir works in a private part of it.
	// What is in it besides trees is left alone.
	Dir string
	// Fetcher downloads. Nil: one with the zero Options.
	Fetcher *Fetcher
	// Bytes bounds the extracted bytes together. Zero: 2 GiB; negative:
	// unlimited.
	Bytes int64
	// Entries bounds the number of trees. Zero: 1,000; negative: unlimited.
	Entries int64
	// Observe is told what happens. It must not block. Nil: nobody is told.
	Observe func(Event)
}

// EventType says what a cache did.
type EventType int

// The events.
const (
	Hit     EventType = iota // a tree was there
	Miss                     // a tree was fetched and extracted
	Evicted                  // a tree was removed to make room
	Corrupt                  // a tree was not as extracted, and dropped
)

// Event is what [CacheOptions.Observe] is told.
type Event struct {
	Type   EventType
	Digest string
	// Result is that of the download; nil for other events than Miss.
	Result *Result
}

// Cache holds extracted trees by digest. It is safe for concurrent use.
type Cache struct {
	o CacheOptions

	mu      sync.Mutex
	opened  bool
	closed  bool
	openErr error
	dir     string
	lock    *os.File
	private bool // dir is removed by Close
	f       *Fetcher
	entries map[digest.Digest]*entry
	flights map[digest.Digest]*flight
	bad     map[badKey]badness
	badFor  time.Duration
	bytes   int64
	tick    uint64
	hook    func(op, name string) // tests: called before each operation on an entry
}

// entry is an extracted tree.
type entry struct {
	id      digest.Digest
	dir     string // the directory that holds tree and manifest
	bytes   int64
	leases  int
	tick    uint64
	private bool          // not in the map; removed with its last lease
	dropped bool          // not as it was extracted
	proved  bool          // the whole tree was hashed by this cache
	first   chan struct{} // held by the check that proves it
	served  int           // leases so far
	files   []record
	dirs    []string
	sums    map[string]string // Lease.Digest, by paths
}

// flight is a download in progress.
type flight struct {
	done    chan struct{}
	waiters int
	cancel  context.CancelFunc
	err     error
	entry   *entry
}

type badKey struct {
	url string
	id  digest.Digest
}

type badness struct {
	until time.Time
	err   error
}

const badFor = 5 * time.Second

// NewCache returns a cache. It does no I/O; the first call of Tree opens the
// directory.
func NewCache(o CacheOptions) *Cache {
	return &Cache{o: o, entries: map[digest.Digest]*entry{}, flights: map[digest.Digest]*flight{}, bad: map[badKey]badness{}, badFor: badFor}
}

// Tree returns a lease on the extracted tree of an artifact. Callers of the
// same digest share one download; when ctx of one ends, the others go on.
func (c *Cache) Tree(ctx context.Context, r Ref) (*Lease, error) {
	if err := errors.Join(ctx.Err(), c.open()); err != nil {
		return nil, err
	}
	id, _, err := c.f.check(r)
	if err != nil {
		return nil, err
	}
	for range 3 {
		e, err := c.get(ctx, r, id)
		if err != nil {
			return nil, err
		}
		l, err := c.lease(ctx, e)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, errDropped) {
			return nil, err
		}
	}
	return nil, &Error{Err: fmt.Errorf("%w: tree changes under our hands", ErrDigestMismatch)}
}

var errDropped = errors.New("entry was dropped")

// get returns a leased entry, from the cache or by a download.
func (c *Cache) get(ctx context.Context, r Ref, id digest.Digest) (*entry, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	if e, ok := c.entries[id]; ok {
		c.touch(e)
		c.mu.Unlock()
		c.observe(Event{Type: Hit, Digest: id.String()})
		return e, nil
	}
	key := badKey{r.URL, id}
	if b, ok := c.bad[key]; ok {
		if time.Now().Before(b.until) {
			c.mu.Unlock()
			return nil, b.err
		}
		delete(c.bad, key)
	}
	fl, ok := c.flights[id]
	if !ok {
		fl = c.start(ctx, r, id)
	}
	fl.waiters++
	c.mu.Unlock()
	select {
	case <-fl.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		fl.waiters--
		if fl.err != nil {
			return nil, fl.err
		}
		c.touch(fl.entry)
		if fl.waiters == 0 {
			fl.entry.leases-- // the flight's own
		}
		return fl.entry, nil
	case <-ctx.Done():
		c.leave(fl, id)
		return nil, ctx.Err()
	}
}

// leave is a waiter that gives up; the last one stops the download, and who
// comes later starts another.
func (c *Cache) leave(fl *flight, id digest.Digest) {
	c.mu.Lock()
	fl.waiters--
	last := fl.waiters == 0
	var drop *entry
	select {
	case <-fl.done:
		if last && fl.entry != nil {
			fl.entry.leases--
			drop = fl.entry
		}
	default:
		if last {
			fl.cancel()
			if c.flights[id] == fl {
				delete(c.flights, id)
			}
		}
	}
	c.mu.Unlock()
	if drop != nil && drop.private && drop.leases == 0 {
		_ = removeTree(drop.dir)
	}
}

func (c *Cache) touch(e *entry) {
	c.tick++
	e.tick = c.tick
	e.leases++
	e.served++
}

// start begins a download that outlives its first caller.
func (c *Cache) start(ctx context.Context, r Ref, id digest.Digest) *flight {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	fl := &flight{done: make(chan struct{}), cancel: cancel}
	c.flights[id] = fl
	go func() {
		defer cancel()
		e, res, err := c.fill(ctx, r, id)
		c.finish(fl, r, id, e, res, err)
	}()
	return fl
}

// finish publishes the outcome of a download.
func (c *Cache) finish(fl *flight, r Ref, id digest.Digest, e *entry, res *Result, err error) {
	var gone []*entry
	c.mu.Lock()
	if c.flights[id] == fl {
		delete(c.flights, id)
	}
	if err == nil && fl.waiters > 0 && !c.closed {
		gone = c.admit(e)
		if err = c.publish(e); err != nil {
			delete(c.entries, id)
			c.bytes -= e.bytes
			gone = append(gone, e)
		}
	}
	fl.err, fl.entry = err, e
	switch {
	case err != nil && errors.Is(err, ErrDigestMismatch):
		c.forgetBad()
		c.bad[badKey{r.URL, id}] = badness{until: time.Now().Add(c.badFor), err: err}
	case err != nil:
	case fl.waiters == 0 || c.closed:
		e.private = true
		gone = append(gone, e)
	default:
		e.leases = 1 // until the last waiter took its own
	}
	close(fl.done)
	c.mu.Unlock()
	for _, g := range gone {
		_ = removeTree(g.dir)
		if g != e {
			c.observe(Event{Type: Evicted, Digest: g.id.String()})
		}
	}
	if err == nil {
		c.observe(Event{Type: Miss, Digest: id.String(), Result: res})
	}
}

// publish gives an entry its place, unless it is private. What is there is a
// tree that was dropped, and goes.
func (c *Cache) publish(e *entry) error {
	if e.private {
		return nil
	}
	final := filepath.Join(c.dir, e.id.Algorithm+"-"+e.id.Hex)
	c.announce("rename", e.dir+"\x00"+final)
	err := os.Rename(e.dir, final)
	if err != nil {
		if rerr := removeTree(final); rerr != nil {
			return errors.Join(err, rerr)
		}
		err = os.Rename(e.dir, final)
	}
	if err == nil {
		e.dir = final
	}
	return err
}

const maxBad = 1000

func (c *Cache) forgetBad() {
	if len(c.bad) < maxBad {
		return
	}
	for k := range c.bad {
		delete(c.bad, k)
	}
}

func (c *Cache) observe(e Event) {
	if c.o.Observe != nil {
		c.o.Observe(e)
	}
}

// announce tells the hook of an operation.
func (c *Cache) announce(op, name string) {
	if c.hook != nil {
		c.hook(op, name)
	}
}

// open locks the directory and takes over what an earlier process left
// complete.
func (c *Cache) open() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if c.opened {
		return c.openErr
	}
	c.opened = true
	c.openErr = c.prepare()
	return c.openErr
}

func (c *Cache) prepare() (err error) {
	if c.f = c.o.Fetcher; c.f == nil {
		if c.f, err = New(Options{}); err != nil {
			return err
		}
	}
	if c.o.Dir == "" {
		c.dir, err = os.MkdirTemp("", "artifact-cache-")
		c.private = true
		return err
	}
	if err := os.MkdirAll(c.o.Dir, 0o700); err != nil {
		return fmt.Errorf("open cache: %w", err)
	}
	lock, err := lockDir(c.o.Dir)
	if err == nil && lock == nil { // another process has it
		c.private = true
		if c.dir, c.lock, err = privateDir(c.o.Dir); err != nil {
			return fmt.Errorf("open cache: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("open cache: %w", err)
	}
	c.dir, c.lock = c.o.Dir, lock
	return c.takeOver()
}

const privatePrefix = "private-"

// takeOver loads complete entries and removes what else a cache left. What
// does not have a name that a cache gives is not its own, and stays.
func (c *Cache) takeOver() error {
	names, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("open cache: %w", err)
	}
	for _, n := range names {
		path := filepath.Join(c.dir, n.Name())
		id, complete, ours := entryName(n.Name())
		switch {
		case !n.IsDir():
			continue
		case privateName(n.Name()):
			if info, err := os.Lstat(filepath.Join(path, lockName)); err != nil || !info.Mode().IsRegular() {
				continue
			}
			lock, err := lockLeft(path)
			if err != nil || lock == nil {
				continue // in use
			}
			fail.Point(failRemove)
			_ = removeTree(path) // while its maker, if there is one after all, cannot lock it
			_ = lock.Close()
			continue
		case !ours:
			continue
		case complete:
			e := &entry{id: id, dir: path, first: make(chan struct{}, 1)}
			if e.readManifest() != nil {
				break
			}
			for _, g := range c.admit(e) {
				_ = removeTree(g.dir)
			}
			if e.private {
				break
			}
			continue
		}
		_ = removeTree(path)
	}
	return nil
}

// entryName reads the name of an entry, "<algorithm>-<hex>", or of one that is
// not complete or was moved aside, which has more around it.
func entryName(name string) (id digest.Digest, complete, ours bool) {
	base, rest, more := strings.Cut(strings.TrimPrefix(name, "."), ".")
	algorithm, sum, _ := strings.Cut(base, "-")
	id, err := digest.Parse(algorithm + ":" + sum)
	switch {
	case err != nil:
		return id, false, false
	case more:
		return id, false, strings.HasSuffix(rest, ".tmp")
	}
	return id, name == base, name == base
}

// privateName reports whether a name is that of a private directory.
func privateName(name string) bool {
	number, ok := strings.CutPrefix(name, privatePrefix)
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// Close gives up the lock; a private directory is removed. Trees under lease
// stay readable through their open root where the system allows that.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	for _, fl := range c.flights {
		fl.cancel()
	}
	var err error
	if c.private && c.dir != "" {
		err = removeTree(c.dir)
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}
