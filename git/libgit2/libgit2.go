// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package libgit2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	git2go "github.com/libgit2/git2go/v34"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/packstore"
)

// Options configure a driver; there is nothing to configure yet.
type Options struct{}

// Driver opens object databases with libgit2.
type Driver struct{ handles atomic.Int64 }

// New returns a Driver.
func New(Options) *Driver { return &Driver{} }

var _ driver.Driver = (*Driver)(nil)

// Name implements driver.Driver.
func (*Driver) Name() string { return "libgit2" }

// Formats implements driver.Driver.
func (*Driver) Formats() []driver.Format { return []driver.Format{driver.SHA1} }

// Handles is the number of C handles in use, for leak checks.
func (d *Driver) Handles() int64 { return d.handles.Load() }

const (
	loosePriority = 10
	packPriority  = 5
)

// Open implements driver.Driver. The database consists of the loose objects and
// packs of this directory and of nothing else: no alternates, no configuration.
func (d *Driver) Open(ctx context.Context, gitDir string, o driver.OpenOptions) (driver.Store, error) {
	if o.Format != driver.SHA1 {
		return nil, fmt.Errorf("libgit2: %s: %w", o.Format, driver.ErrUnsupportedFormat)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &store{d: d, dir: filepath.Join(gitDir, "objects"), limit: o.MaxObject, depth: o.MaxDeltaDepth}
	if s.limit == 0 {
		s.limit = 256 << 20
	}
	if err := os.MkdirAll(s.packDir(), 0o755); err != nil { //nolint:gosec // as git does, before umask
		return nil, err
	}
	return s, s.load()
}

type store struct {
	d     *Driver
	dir   string
	limit int64
	depth int64

	mu   sync.Mutex
	odb  *git2go.Odb
	repo *git2go.Repository
}

var _ driver.Unwrapper = (*store)(nil)

// Unwrap returns git2go's *Repository around the object database.
func (s *store) Unwrap() any { return s.repo }

func (s *store) packDir() string { return filepath.Join(s.dir, "pack") }

func (s *store) load() (err error) {
	if s.odb, err = git2go.NewOdb(); err != nil {
		return fmt.Errorf("libgit2: %w", err)
	}
	s.d.handles.Add(1)
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	loose, err := git2go.NewOdbBackendLoose(s.dir, -1, false, 0o755, 0o444)
	if err == nil {
		err = s.odb.AddBackend(loose, loosePriority)
	}
	if err != nil {
		return fmt.Errorf("libgit2: %w", err)
	}
	es, err := os.ReadDir(s.packDir())
	if err != nil {
		return err
	}
	for _, e := range es {
		if strings.HasSuffix(e.Name(), ".idx") {
			if err := s.addPack(filepath.Join(s.packDir(), e.Name())); err != nil {
				return err
			}
		}
	}
	if s.repo, err = git2go.NewRepositoryWrapOdb(s.odb); err != nil {
		return fmt.Errorf("libgit2: %w", err)
	}
	s.d.handles.Add(1)
	return nil
}

func (s *store) addPack(index string) error {
	b, err := git2go.NewOdbBackendOnePack(index)
	if err == nil {
		err = s.odb.AddBackend(b, packPriority)
	}
	if err != nil {
		return fmt.Errorf("libgit2: pack: %w", err)
	}
	return nil
}

func oid(id driver.Hash) *git2go.Oid { return git2go.NewOidFromBytes(id.Bytes()) }

var types = map[git2go.ObjectType]driver.Type{ //nolint:gochecknoglobals // a table that never changes
	git2go.ObjectCommit: driver.Commit, git2go.ObjectTree: driver.Tree, git2go.ObjectBlob: driver.Blob, git2go.ObjectTag: driver.Tag,
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
	size, _, err := s.odb.ReadHeader(oid(id))
	if git2go.IsErrorCode(err, git2go.ErrorCodeNotFound) {
		return 0, nil, fmt.Errorf("object %s: %w", id, driver.ErrObjectNotFound)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("object %s: %w: %w", id, driver.ErrMalformedObject, err)
	}
	if s.limit > 0 && size > uint64(s.limit) {
		return 0, nil, &git.LimitError{Name: "git-object", Max: s.limit, Got: int64(size)} //nolint:gosec // for show
	}
	o, err := s.odb.Read(oid(id))
	if err != nil {
		return 0, nil, fmt.Errorf("object %s: %w: %w", id, driver.ErrMalformedObject, err)
	}
	s.d.handles.Add(1)
	defer func() { o.Free(); s.d.handles.Add(-1) }()
	t, ok := types[o.Type()]
	if !ok {
		return 0, nil, fmt.Errorf("object %s: %w", id, driver.ErrMalformedObject)
	}
	return t, append([]byte(nil), o.Data()...), nil
}

// Put implements driver.Store.
func (s *store) Put(ctx context.Context, t driver.Type, body []byte) (driver.Hash, error) {
	if err := ctx.Err(); err != nil {
		return driver.Hash{}, err
	}
	// Whether libgit2 looks for collisions depends on how it was built.
	id, err := packstore.ID(driver.SHA1, t, body)
	if err != nil {
		return driver.Hash{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for theirs, ours := range types {
		if ours != t {
			continue
		}
		got, err := s.odb.Write(body, theirs)
		if err != nil {
			return driver.Hash{}, fmt.Errorf("libgit2: %w", err)
		}
		if !bytes.Equal(got[:], id.Bytes()) {
			return driver.Hash{}, fmt.Errorf("object %s was stored as %s: %w", id, got, driver.ErrMalformedObject)
		}
		return id, nil
	}
	return driver.Hash{}, fmt.Errorf("type %s: %w", t, driver.ErrMalformedObject)
}

// AddPack implements driver.Store. The pack is checked as a whole before
// libgit2 sees it, whose indexer believes sizes and types. The indexer works in
// a directory of its own; pack and index move into place, the index last.
func (s *store) AddPack(ctx context.Context, r io.Reader, o driver.PackOptions) (st driver.PackStats, err error) {
	co := packstore.CheckOptions{Dir: s.packDir(), MaxObject: s.limit, MaxDeltaDepth: s.depth}
	if o.Thin {
		co.Base = s
	}
	checked, err := packstore.Check(ctx, r, co)
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, checked.Close()) }()
	if st = checked.Stats; st.Objects == 0 {
		return st, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tmp, err := os.MkdirTemp(s.packDir(), "in-*.tmp")
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	name, err := s.index(ctx, tmp, checked)
	if err != nil {
		return st, err
	}
	final := filepath.Join(s.packDir(), name)
	if _, err := os.Stat(final + ".idx"); err == nil {
		return st, nil // known already
	}
	if err := os.Rename(filepath.Join(tmp, name+".pack"), final+".pack"); err != nil {
		return st, err
	}
	if err := os.Rename(filepath.Join(tmp, name+".idx"), final+".idx"); err != nil {
		return st, errors.Join(err, os.Remove(final+".pack"))
	}
	return st, s.addPack(final + ".idx")
}

// index feeds the indexer and returns the name of what it made.
func (s *store) index(ctx context.Context, dir string, r io.Reader) (string, error) {
	x, err := git2go.NewIndexer(dir, nil, func(git2go.TransferProgress) error { return nil })
	if err != nil {
		return "", fmt.Errorf("libgit2: %w", err)
	}
	s.d.handles.Add(1)
	defer func() { x.Free(); s.d.handles.Add(-1) }()
	buf := make([]byte, 128<<10)
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		k, rerr := r.Read(buf)
		if k > 0 {
			if _, err := x.Write(buf[:k]); err != nil {
				return "", fmt.Errorf("%w: %w", driver.ErrMalformedPack, err)
			}
		}
		if errors.Is(rerr, io.EOF) {
			break
		}
		if rerr != nil {
			return "", rerr
		}
	}
	id, err := x.Commit()
	if err != nil {
		return "", fmt.Errorf("%w: %w", driver.ErrMalformedPack, err)
	}
	return "pack-" + id.String(), nil
}

// Pack implements driver.Store with libgit2's pack builder.
func (s *store) Pack(ctx context.Context, w io.Writer, want, have []driver.Hash) (st driver.PackStats, err error) {
	ids, err := packstore.Missing(ctx, s, want, have)
	if err != nil {
		return st, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.repo.NewPackbuilder()
	if err != nil {
		return st, fmt.Errorf("libgit2: %w", err)
	}
	s.d.handles.Add(1)
	defer func() { b.Free(); s.d.handles.Add(-1) }()
	for _, id := range ids {
		if err := b.Insert(oid(id), ""); err != nil {
			return st, fmt.Errorf("libgit2: %w", err)
		}
	}
	c := &counter{w: w}
	if err := b.Write(c); err != nil {
		return st, fmt.Errorf("libgit2: %w", err)
	}
	return driver.PackStats{Objects: len(ids), Bytes: c.n}, ctx.Err()
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// Close implements driver.Store.
func (s *store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repo != nil {
		s.repo.Free()
		s.d.handles.Add(-1)
		s.repo = nil
	}
	if s.odb != nil {
		s.odb.Free()
		s.d.handles.Add(-1)
		s.odb = nil
	}
	return nil
}
