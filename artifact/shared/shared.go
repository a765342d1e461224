// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/artifact"
)

// Blobs is a registry. Implementations are safe for concurrent use; the
// interface does not grow. What is not there is artifact.ErrNotFound.
type Blobs interface {
	BlobStore
	Indexes
}

// BlobStore keeps immutable bytes by digest.
type BlobStore interface {
	// Push stores a blob; one that is there already is no error.
	Push(ctx context.Context, digest string, size int64, r io.Reader) error
	// Pull opens a blob.
	Pull(ctx context.Context, digest string) (io.ReadCloser, int64, error)
	// Has reports whether a blob is there.
	Has(ctx context.Context, digest string) (bool, error)
	// Delete removes a blob; one that is not there is no error.
	Delete(ctx context.Context, digest string) error
}

// Indexes keeps one document by name.
type Indexes interface {
	// PutIndex replaces a document whose version is expect, "" for none; a nil
	// body removes it. Another version is [ErrConflict].
	PutIndex(ctx context.Context, name, expect string, body []byte) error
	// GetIndex returns a document and its version.
	GetIndex(ctx context.Context, name string) (body []byte, version string, err error)
	// ListIndex lists the names of all documents.
	ListIndex(ctx context.Context) ([]string, error)
}

// ErrConflict reports that a document changed in between.
var ErrConflict = errors.New("index changed in between")

// Options control a [Driver].
type Options struct {
	// Cache is a local directory for blobs. Required.
	Cache string
	// CacheBytes bounds it. Zero: 2 GiB.
	CacheBytes int64
	// Fresh is how long an index that was read may be used again. Zero: 2 s;
	// negative: not at all.
	Fresh time.Duration
	// Garbage is how long a blob stays that no index names any more. Zero:
	// 24 h. Of the blobs of one object only the last 200 stay that long; the
	// others stay ten minutes.
	Garbage time.Duration
	// ReadOnly makes everything that writes fail with artifact.ErrReadOnly.
	ReadOnly bool
}

// Driver keeps files in a registry. It is safe for concurrent use.
type Driver struct {
	b Blobs
	o Options
	c *cache

	mu      sync.Mutex
	indexes map[string]read
	changes uint64 // indexes that this process replaced

	// sweep keeps a blob from being deleted between the question whether it is
	// there and the entry that names it.
	sweep sync.RWMutex
	named map[string]int // blobs that are being named
	since map[string]struct{}
}

// read is an index as it was read.
type read struct {
	doc     document
	version string
	at      time.Time
}

var (
	_ artifact.Driver      = (*Driver)(nil)
	_ artifact.Linker      = (*Driver)(nil)
	_ artifact.Quarantiner = (*Driver)(nil)
	_ artifact.Keeper      = (*Driver)(nil)
	_ artifact.Sweeper     = (*Driver)(nil)
)

const (
	tries         = 5
	maxKnownIndex = 4096
)

// New returns a driver over b. It makes the cache directory.
func New(b Blobs, o Options) (*Driver, error) {
	if b == nil || o.Cache == "" {
		return nil, errors.New("shared storage: no registry or no cache directory")
	}
	if o.Fresh == 0 {
		o.Fresh = 2 * time.Second
	}
	if o.Garbage == 0 {
		o.Garbage = 24 * time.Hour
	}
	c, err := newCache(o.Cache, o.CacheBytes)
	if err != nil {
		return nil, fmt.Errorf("shared storage: %w", err)
	}
	return &Driver{b: b, o: o, c: c, indexes: map[string]read{}, named: map[string]int{}}, nil
}

// known returns the document of an object if it was read not longer than Fresh
// ago.
func (d *Driver) known(name string) (read, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.indexes[name]
	return r, ok && time.Since(r.at) < d.o.Fresh
}

// index reads the document of an object.
func (d *Driver) index(ctx context.Context, name string) (read, error) {
	d.mu.Lock()
	changes := d.changes
	d.mu.Unlock()
	body, version, err := d.b.GetIndex(ctx, name)
	if errors.Is(err, artifact.ErrNotFound) {
		body, version, err = nil, "", nil
	}
	if err != nil {
		return read{}, err
	}
	r := read{version: version, at: time.Now()}
	if version != "" {
		if r.doc, err = parse(body); err != nil {
			return read{}, err
		}
	}
	d.remember(name, r, changes)
	return r, nil
}

// remember keeps an index for the next reader, unless this process changed one
// since the reading began: it may be what was there before.
func (d *Driver) remember(name string, r read, changes uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changes != changes {
		return
	}
	if len(d.indexes) >= maxKnownIndex {
		clear(d.indexes)
	}
	d.indexes[name] = r
}

// change applies fn to an index until no other writer comes in between.
func (d *Driver) change(ctx context.Context, name string, fn func(*document) error) error {
	var err error
	for range tries {
		var r read
		if r, err = d.index(ctx, name); err != nil {
			return err
		}
		doc := r.doc.clone()
		if err := fn(&doc); err != nil {
			return err
		}
		body, berr := doc.marshal()
		if berr != nil {
			return berr
		}
		if body == nil && r.version == "" {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err // who lost the leadership writes nothing more
		}
		if err = d.b.PutIndex(ctx, name, r.version, body); err == nil {
			d.mu.Lock()
			d.changes++
			delete(d.indexes, name) // its version is not known here
			d.mu.Unlock()
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}

// Put implements [artifact.Driver]: the blob first, then the index.
func (d *Driver) Put(ctx context.Context, key artifact.Key, r io.Reader) (artifact.Stat, error) {
	if d.o.ReadOnly {
		return artifact.Stat{}, artifact.ErrReadOnly
	}
	if err := key.Validate(); err != nil {
		return artifact.Stat{}, err
	}
	s, err := d.c.spool(ctx, r)
	if err != nil {
		return artifact.Stat{}, err
	}
	defer s.discard()
	has, err := d.name(ctx, s.digest)
	defer d.unname(s.digest)
	if err == nil && !has {
		err = d.b.Push(ctx, s.digest, s.size, s.file)
	}
	if err != nil {
		return artifact.Stat{}, err
	}
	e := entry{File: key.File, Digest: s.digest, Size: s.size, Written: time.Now().UTC().Round(0)}
	if err := d.change(ctx, indexName(key), func(doc *document) error {
		e.Seq = doc.Last + 1
		return doc.put(e)
	}); err != nil {
		return artifact.Stat{}, err
	}
	s.keep()
	return e.stat(key), nil
}

// name keeps a blob from Sweep, and reports whether it is there.
func (d *Driver) name(ctx context.Context, sum string) (bool, error) {
	d.sweep.RLock()
	defer d.sweep.RUnlock()
	d.mu.Lock()
	d.named[sum]++
	if d.since != nil {
		d.since[sum] = struct{}{}
	}
	d.mu.Unlock()
	return d.b.Has(ctx, sum)
}

func (d *Driver) unname(sum string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.named[sum]--; d.named[sum] == 0 {
		delete(d.named, sum)
	}
}

// discard deletes a blob unless it is being named, or was since Sweep began.
func (d *Driver) discard(ctx context.Context, sum string) (gone bool, err error) {
	d.sweep.Lock()
	defer d.sweep.Unlock()
	d.mu.Lock()
	_, since := d.since[sum]
	named := since || d.named[sum] > 0
	d.mu.Unlock()
	if named {
		return false, nil
	}
	err = d.b.Delete(ctx, sum)
	return err == nil, err
}

// Get implements [artifact.Driver] through the local cache. What an index that
// was read a moment ago does not lead to is looked for in a new one; an index
// that was read for this is believed.
func (d *Driver) Get(ctx context.Context, key artifact.Key) (io.ReadSeekCloser, artifact.Stat, error) {
	if err := key.Validate(); err != nil {
		return nil, artifact.Stat{}, err
	}
	name := indexName(key)
	if r, ok := d.known(name); ok {
		f, st, err := d.open(ctx, r, key)
		if !errors.Is(err, artifact.ErrNotFound) {
			return f, st, err
		}
	}
	r, err := d.index(ctx, name)
	if err != nil {
		return nil, artifact.Stat{}, err
	}
	return d.open(ctx, r, key)
}

// open opens what an index names.
func (d *Driver) open(ctx context.Context, r read, key artifact.Key) (io.ReadSeekCloser, artifact.Stat, error) {
	if to, ok := r.doc.Links[key.File]; ok {
		key.File = to
	}
	e, ok := r.doc.find(key.File)
	if !ok {
		return nil, artifact.Stat{}, artifact.ErrNotFound
	}
	f, err := d.c.open(ctx, e.Digest, e.Size, d.b)
	if err != nil {
		return nil, artifact.Stat{}, err
	}
	return f, e.stat(key), nil
}

// List implements [artifact.Driver].
func (d *Driver) List(ctx context.Context, key artifact.Key) ([]artifact.Stat, error) {
	if err := key.ValidateObject(); err != nil {
		return nil, err
	}
	r, err := d.index(ctx, indexName(key))
	if err != nil {
		return nil, err
	}
	var out []artifact.Stat
	for _, e := range r.doc.Entries {
		out = append(out, e.stat(key))
	}
	return out, nil
}

// Delete implements [artifact.Driver]. Blobs go later, by Sweep.
func (d *Driver) Delete(ctx context.Context, keys ...artifact.Key) error {
	if d.o.ReadOnly {
		return artifact.ErrReadOnly
	}
	byIndex := map[string][]string{}
	for _, k := range keys {
		if err := k.ValidateObject(); err != nil {
			return err
		}
		byIndex[indexName(k)] = append(byIndex[indexName(k)], k.File)
	}
	var errs []error
	for name, files := range byIndex {
		errs = append(errs, d.change(ctx, name, func(doc *document) error {
			doc.remove(files, time.Now())
			return nil
		}))
	}
	return errors.Join(errs...)
}

// Link implements [artifact.Linker].
func (d *Driver) Link(ctx context.Context, key artifact.Key, name string) error {
	if d.o.ReadOnly {
		return artifact.ErrReadOnly
	}
	link := key
	link.File = name
	if err := errors.Join(key.Validate(), link.Validate()); err != nil {
		return err
	}
	return d.change(ctx, indexName(key), func(doc *document) error {
		if _, ok := doc.find(key.File); !ok {
			return artifact.ErrNotFound
		}
		if _, ok := doc.find(name); ok {
			return fmt.Errorf("%w: %q is a file", artifact.ErrConflict, link)
		}
		doc.link(name, key.File)
		return nil
	})
}

// Quarantine implements [artifact.Quarantiner]: the local copy goes, and the
// next reader pulls the blob again.
func (d *Driver) Quarantine(ctx context.Context, key artifact.Key) error {
	r, ok := d.known(indexName(key))
	if !ok {
		var err error
		if r, err = d.index(ctx, indexName(key)); err != nil {
			return err
		}
	}
	if e, ok := r.doc.find(key.File); ok {
		return d.c.drop(e.Digest)
	}
	return nil
}

// Objects implements [artifact.Sweeper].
func (d *Driver) Objects(ctx context.Context) ([]artifact.Key, error) {
	names, err := d.b.ListIndex(ctx)
	if err != nil {
		return nil, err
	}
	var out []artifact.Key
	for _, n := range names {
		if k, ok := objectOf(n); ok {
			out = append(out, k)
		}
	}
	return out, nil
}

// Sweep implements [artifact.Sweeper]: it deletes blobs that no index has
// named for [Options.Garbage].
func (d *Driver) Sweep(ctx context.Context) error {
	if d.o.ReadOnly {
		return nil
	}
	d.mu.Lock()
	if d.since != nil {
		d.mu.Unlock()
		return nil // another one is at work
	}
	d.since = map[string]struct{}{}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.since = nil
		d.mu.Unlock()
	}()
	names, err := d.b.ListIndex(ctx)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	due := map[string][]string{}
	for _, n := range names {
		r, err := d.index(ctx, n)
		if err != nil {
			return err // who does not know all indexes deletes nothing
		}
		for _, e := range r.doc.Entries {
			used[e.Digest] = true
		}
		if list := r.doc.due(d.o.Garbage); len(list) > 0 {
			due[n] = list
		}
	}
	var errs []error
	for name, digests := range due {
		digests = slices.DeleteFunc(digests, func(sum string) bool {
			if used[sum] {
				return false // the entry that names it will say so when it goes
			}
			gone, err := d.discard(ctx, sum)
			errs = append(errs, err)
			return !gone // stays noted, for the next time
		})
		if len(digests) == 0 {
			continue
		}
		errs = append(errs, d.change(ctx, name, func(doc *document) error {
			doc.Garbage = slices.DeleteFunc(doc.Garbage, func(g garbage) bool { return slices.Contains(digests, g.Digest) })
			return nil
		}))
	}
	return errors.Join(errs...)
}
