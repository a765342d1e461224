// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gogit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/objhash"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/git/internal/reach"
)

// Options configure the driver.
type Options struct {
	// CacheBytes bounds the objects kept in memory. Zero: 16 MiB.
	CacheBytes int64
}

// Driver opens object databases with go-git.
type Driver struct{ o Options }

// New returns a Driver.
func New(o Options) *Driver { return &Driver{o} }

var _ driver.Driver = (*Driver)(nil)

// Name implements driver.Driver.
func (*Driver) Name() string { return "gogit" }

// Formats implements driver.Driver.
func (*Driver) Formats() []driver.Format { return []driver.Format{driver.SHA1} }

// Open implements driver.Driver.
func (d *Driver) Open(ctx context.Context, gitDir string, o driver.OpenOptions) (driver.Store, error) {
	if o.Format != driver.SHA1 {
		return nil, fmt.Errorf("gogit: %s: %w", o.Format, driver.ErrUnsupportedFormat)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(gitDir, "objects", "pack"), 0o755); err != nil { //nolint:gosec // as git does, before umask
		return nil, err
	}
	size := cache.FileSize(d.o.CacheBytes)
	if size <= 0 {
		size = 16 << 20
	}
	lru := cache.NewObjectLRU(size)
	fs := osfs.New(gitDir)
	s := &store{
		dir:   gitDir,
		st:    filesystem.NewStorageWithOptions(fs, lru, filesystem.Options{KeepDescriptors: true}),
		limit: limits.Or(o.MaxObject, 256<<20), depth: limits.Or(o.MaxDeltaDepth, 4095),
	}
	return s, nil
}

type store struct {
	dir          string
	limit, depth int64

	mu sync.Mutex
	st *filesystem.Storage
}

var _ driver.Unwrapper = (*store)(nil)

// Unwrap returns go-git's *filesystem.Storage.
func (s *store) Unwrap() any { return s.st }

func toOurs(h plumbing.Hash) driver.Hash {
	id, _ := driver.NewHash(h[:])
	return id
}

func toTheirs(h driver.Hash) (out plumbing.Hash) {
	copy(out[:], h.Bytes())
	return out
}

var types = map[plumbing.ObjectType]driver.Type{ //nolint:gochecknoglobals // a table that never changes
	plumbing.CommitObject: driver.Commit, plumbing.TreeObject: driver.Tree, plumbing.BlobObject: driver.Blob, plumbing.TagObject: driver.Tag,
}

// Get implements driver.Store.
func (s *store) Get(ctx context.Context, id driver.Hash) (driver.Type, []byte, error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	if id.Format() != driver.SHA1 {
		return 0, nil, fmt.Errorf("object %s: %w", id, driver.ErrObjectNotFound)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, err := s.st.EncodedObjectSize(toTheirs(id)); err == nil {
		if err := limits.Check("git-object", s.limit, n); err != nil {
			return 0, nil, err
		}
	}
	o, err := s.st.EncodedObject(plumbing.AnyObject, toTheirs(id))
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return 0, nil, fmt.Errorf("object %s: %w", id, driver.ErrObjectNotFound)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("object %s: %w: %w", id, driver.ErrMalformedObject, err)
	}
	r, err := o.Reader()
	if err != nil {
		return 0, nil, fmt.Errorf("object %s: %w", id, err)
	}
	b := make([]byte, o.Size())
	_, err = io.ReadFull(r, b)
	if err = errors.Join(err, r.Close()); err != nil {
		return 0, nil, fmt.Errorf("object %s: %w", id, err)
	}
	t, ok := types[o.Type()]
	if !ok {
		return 0, nil, fmt.Errorf("object %s: %w", id, driver.ErrMalformedObject)
	}
	return t, b, nil
}

// AddPack implements driver.Store. The pack is checked as a whole before
// go-git sees it, a thin one is completed, and its index comes from the same
// pass: go-git reads packs here and does not parse them.
func (s *store) AddPack(ctx context.Context, r io.Reader, o driver.PackOptions) (st driver.PackStats, err error) {
	dir := filepath.Join(s.dir, "objects", "pack")
	p, err := s.receive(ctx, r, dir, o.Thin)
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	st = driver.PackStats{Objects: p.Len(), Deltas: p.Deltas(), Bytes: p.Size()}
	if p.Len() == 0 {
		return st, nil
	}
	if err := p.Complete(); err != nil {
		return st, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stem := filepath.Join(dir, "pack-"+p.Sum().String())
	if _, err := os.Lstat(stem + ".idx"); err == nil {
		return st, nil // the same pack again
	}
	if err := p.Install(dir, stem); err != nil {
		return st, fmt.Errorf("pack: %w", err)
	}
	s.st.Reindex()
	return st, nil
}

// receive returns a verified pack in a file of its own in dir.
func (s *store) receive(ctx context.Context, r io.Reader, dir string, thin bool) (*packfile.Pack, error) {
	po := packfile.Options{
		Format: driver.SHA1, Dir: dir, Named: true,
		Limits: packfile.Limits{Pack: -1, Inflated: -1, Object: s.limit, Objects: -1, DeltaDepth: s.depth},
	}
	if p, ok := packfile.Unpack(r, driver.SHA1, po.Limits); ok && ctx.Err() == nil {
		return p.Copy(dir)
	}
	if thin {
		po.Base = func(id driver.Hash) (driver.Type, []byte, error) { return s.Get(ctx, id) }
	}
	return packfile.Receive(ctx, r, po)
}

// Put implements driver.Store.
func (s *store) Put(ctx context.Context, t driver.Type, body []byte) (driver.Hash, error) {
	if err := ctx.Err(); err != nil {
		return driver.Hash{}, err
	}
	// go-git's own hash finds collisions too, and does not tell.
	id, err := objhash.Of(driver.SHA1, t, body)
	if err != nil {
		return driver.Hash{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.st.NewEncodedObject()
	for theirs, ours := range types {
		if ours == t {
			o.SetType(theirs)
		}
	}
	o.SetSize(int64(len(body)))
	w, err := o.Writer()
	if err != nil {
		return driver.Hash{}, err
	}
	_, err = w.Write(body)
	if err = errors.Join(err, w.Close()); err != nil {
		return driver.Hash{}, err
	}
	h, err := s.st.SetEncodedObject(o)
	if err == nil && toOurs(h) != id {
		err = fmt.Errorf("object %s was stored as %s: %w", id, toOurs(h), driver.ErrMalformedObject)
	}
	return id, err
}

// Pack implements driver.Store.
func (s *store) Pack(ctx context.Context, w io.Writer, want, have []driver.Hash) (st driver.PackStats, err error) {
	ids, err := reach.Missing(ctx, s, want, have)
	if err != nil {
		return st, err
	}
	p, err := packfile.NewWriter(w, driver.SHA1, uint32(len(ids))) //nolint:gosec // far below
	if err != nil {
		return st, err
	}
	if err := reach.Send(ctx, s, ids, p.Add); err != nil {
		return st, err
	}
	n, err := p.Close()
	return driver.PackStats{Objects: len(ids), Bytes: n}, err
}

// Close implements driver.Store.
func (s *store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := any(s.st).(io.Closer); ok {
		return c.Close()
	}
	return nil
}

var _ storer.EncodedObjectStorer = (*filesystem.Storage)(nil)
