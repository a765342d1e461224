// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packstore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zlib"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/fail"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/objhash"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/git/internal/reach"
)

// Options configure a driver; there is nothing to configure yet.
type Options struct{}

// Driver opens object databases.
type Driver struct{}

// New returns a Driver.
func New(Options) *Driver { return &Driver{} }

var _ driver.Driver = (*Driver)(nil)

// Name implements driver.Driver.
func (*Driver) Name() string { return "packstore" }

// Formats implements driver.Driver.
func (*Driver) Formats() []driver.Format { return []driver.Format{driver.SHA1, driver.SHA256} }

// Open implements driver.Driver. Temporary files of a process that died are
// removed, and so are packs without a fitting index.
func (*Driver) Open(ctx context.Context, gitDir string, o driver.OpenOptions) (driver.Store, error) {
	if o.Format != driver.SHA1 && o.Format != driver.SHA256 {
		return nil, driver.ErrUnsupportedFormat
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &store{
		dir: filepath.Join(gitDir, "objects"), format: o.Format,
		lim: packfile.ReadLimits{Object: limits.Or(o.MaxObject, 256<<20), DeltaDepth: limits.Or(o.MaxDeltaDepth, 4095)},
	}
	if err := os.MkdirAll(s.packDir(), 0o755); err != nil { //nolint:gosec // as git does, before umask
		return nil, err
	}
	return s, s.load()
}

type store struct {
	dir    string
	format driver.Format
	lim    packfile.ReadLimits

	mu    sync.RWMutex
	packs []*packfile.Indexed
	names []string
}

var _ driver.BlobReader = (*store)(nil)

func (s *store) packDir() string { return filepath.Join(s.dir, "pack") }

func (s *store) load() error {
	es, err := os.ReadDir(s.packDir())
	if err != nil {
		return err
	}
	for _, e := range es {
		name := filepath.Join(s.packDir(), e.Name())
		switch {
		case strings.HasSuffix(e.Name(), ".tmp"):
			if err := os.Remove(name); err != nil {
				return err
			}
		case strings.HasSuffix(e.Name(), ".pack"):
			stem := strings.TrimSuffix(name, ".pack")
			x, err := packfile.OpenIndexed(name, stem+".idx", s.format)
			if errors.Is(err, packfile.ErrIndex) || errors.Is(err, fs.ErrNotExist) {
				if err := errors.Join(os.Remove(name), ignoreMissing(os.Remove(stem+".idx"))); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
			s.packs, s.names = append(s.packs, x), append(s.names, stem)
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Get implements driver.Store.
func (s *store) Get(ctx context.Context, id driver.Hash) (driver.Type, []byte, error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	t, b, err := s.read(id)
	if err != nil {
		return 0, nil, err
	}
	h := objhash.New(s.format)
	h.Start(t, int64(len(b)))
	_, _ = h.Write(b)
	return t, b, same(h, id)
}

func (s *store) read(id driver.Hash) (driver.Type, []byte, error) {
	s.mu.RLock()
	packs := s.packs
	s.mu.RUnlock()
	for i := len(packs) - 1; i >= 0; i-- {
		if off, ok := packs[i].Find(id); ok {
			return packs[i].Read(off, s.lim)
		}
	}
	return s.loose(id)
}

func (s *store) loosePath(id driver.Hash) string {
	hex := id.String()
	return filepath.Join(s.dir, hex[:2], hex[2:])
}

func (s *store) loose(id driver.Hash) (driver.Type, []byte, error) {
	f, err := os.Open(s.loosePath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, fmt.Errorf("object %s: %w", id, driver.ErrObjectNotFound)
	}
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = f.Close() }()
	z, err := zlib.NewReader(bufio.NewReader(f))
	if err != nil {
		return 0, nil, fmt.Errorf("object %s: %w", id, driver.ErrMalformedObject)
	}
	r := bufio.NewReaderSize(z, 4096)
	head, err := r.ReadSlice(0)
	if err != nil {
		return 0, nil, fmt.Errorf("object %s: %w", id, driver.ErrMalformedObject)
	}
	kind, size, _ := strings.Cut(string(head[:len(head)-1]), " ")
	t, err := driver.ParseType(kind)
	if err != nil {
		return 0, nil, err
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n < 0 {
		return 0, nil, fmt.Errorf("object %s: %w", id, driver.ErrMalformedObject)
	}
	if err := limits.Check("git-object", s.lim.Object, n); err != nil {
		return 0, nil, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, nil, fmt.Errorf("object %s: %w", id, driver.ErrMalformedObject)
	}
	return t, b, nil
}

// Stat returns type and size of an object without reading it as a whole.
func (s *store) Stat(id driver.Hash) (driver.Type, int64, error) {
	s.mu.RLock()
	packs := s.packs
	s.mu.RUnlock()
	for i := len(packs) - 1; i >= 0; i-- {
		if off, ok := packs[i].Find(id); ok {
			return packs[i].Stat(off, s.lim)
		}
	}
	t, b, err := s.loose(id)
	return t, int64(len(b)), err
}

// Usage returns the number of packs and their size in bytes.
func (s *store) Usage() (packs int, bytes int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.packs {
		bytes += p.Size()
	}
	return len(s.packs), bytes
}

// Open implements driver.BlobReader.
func (s *store) Open(ctx context.Context, id driver.Hash) (io.ReadCloser, int64, error) {
	t, n, r, err := s.Stream(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	if t != driver.Blob {
		return nil, 0, errors.Join(fmt.Errorf("object %s is a %s: %w", id, t, driver.ErrMalformedObject), r.Close())
	}
	return r, n, nil
}

// Stream opens an object of any type. Large ones are inflated while they are
// read, and their id is compared at the end: what was read before an error is
// not to be used.
func (s *store) Stream(ctx context.Context, id driver.Hash) (driver.Type, int64, io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, nil, err
	}
	s.mu.RLock()
	packs := s.packs
	s.mu.RUnlock()
	for i := len(packs) - 1; i >= 0; i-- {
		off, ok := packs[i].Find(id)
		if !ok {
			continue
		}
		t, n, r, built, err := packs[i].Open(off, s.lim)
		if err != nil {
			return 0, 0, nil, err
		}
		h := objhash.New(s.format)
		h.Start(t, n)
		if built == nil {
			return t, n, &verifying{ReadCloser: r, ctx: ctx, h: h, id: id, left: n}, nil
		}
		_, _ = h.Write(built)
		return t, n, r, same(h, id)
	}
	t, b, err := s.Get(ctx, id)
	return t, int64(len(b)), io.NopCloser(bytes.NewReader(b)), err
}

func same(h *objhash.Hasher, id driver.Hash) error {
	got, err := h.Sum()
	if err == nil && got != id {
		err = fmt.Errorf("object %s has the bytes of %s: %w", id, got, driver.ErrMalformedObject)
	}
	return err
}

// verifying compares the id before the last bytes are given out.
type verifying struct {
	io.ReadCloser
	ctx  context.Context //nolint:containedctx // of the operation that reads
	h    *objhash.Hasher
	id   driver.Hash
	left int64
}

// Read implements io.Reader.
func (v *verifying) Read(b []byte) (int, error) {
	if err := v.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := v.ReadCloser.Read(b)
	if _, _ = v.h.Write(b[:n]); n > 0 {
		if v.left -= int64(n); v.left == 0 {
			if serr := same(v.h, v.id); serr != nil {
				return 0, serr
			}
		}
	}
	return n, err
}

// Put implements driver.Store.
func (s *store) Put(ctx context.Context, t driver.Type, body []byte) (driver.Hash, error) {
	if err := ctx.Err(); err != nil {
		return driver.Hash{}, err
	}
	id, err := objhash.Of(s.format, t, body)
	if err != nil {
		return id, err
	}
	if _, _, err := s.read(id); err == nil {
		return id, nil
	}
	name := s.loosePath(id)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // as git does, before umask
		return id, err
	}
	f, err := os.CreateTemp(s.packDir(), "obj-*.tmp")
	if err != nil {
		return id, err
	}
	z := zlib.NewWriter(f)
	_, err = fmt.Fprintf(z, "%s %d\x00", t, len(body))
	if err == nil {
		_, err = z.Write(body)
	}
	err = errors.Join(err, z.Close(), f.Chmod(0o444), f.Close())
	fail.Point(fpBeforeLoose)
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	fail.Point(fpAfterLoose)
	if err != nil {
		return id, errors.Join(err, ignoreMissing(os.Remove(f.Name())))
	}
	return id, nil
}

// AddPack implements driver.Store. A thin pack is completed first.
func (s *store) AddPack(ctx context.Context, r io.Reader, o driver.PackOptions) (st driver.PackStats, err error) {
	lim := packfile.Limits{Pack: -1, Inflated: -1, Object: s.lim.Object, Objects: -1, DeltaDepth: s.lim.DeltaDepth}
	return s.Receive(ctx, r, lim, o.Thin)
}

// Receive is AddPack for a pack that nobody has checked yet: it comes straight
// from the network and is held to limits.
func (s *store) Receive(ctx context.Context, r io.Reader, lim packfile.Limits, thin bool) (st driver.PackStats, err error) {
	po := packfile.Options{Format: s.format, Dir: s.packDir(), Named: true, Limits: lim}
	if thin {
		po.Base = func(id driver.Hash) (driver.Type, []byte, error) { return s.Get(ctx, id) }
	}
	var p *packfile.Pack
	if known, ok := packfile.Unpack(r, s.format, lim); ok && ctx.Err() == nil {
		p, err = known.Copy(s.packDir())
	} else {
		p, err = packfile.Receive(ctx, r, po)
	}
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
	return st, s.publish(p)
}

// publish puts index and pack on disk and makes them visible.
func (s *store) publish(p *packfile.Pack) error {
	stem := filepath.Join(s.packDir(), "pack-"+p.Sum().String())
	s.mu.RLock()
	known := slices.Contains(s.names, stem)
	s.mu.RUnlock()
	if known {
		return nil
	}
	idx, err := os.CreateTemp(s.packDir(), "idx-*.tmp")
	if err != nil {
		return err
	}
	err = errors.Join(p.WriteIndex(idx), idx.Chmod(0o444), idx.Sync(), idx.Close())
	if err == nil {
		err = errors.Join(p.File().Chmod(0o444), p.File().Sync())
	}
	fail.Point(fpBeforePublish)
	// The index goes first: a pack without one is dropped when opened.
	if err == nil {
		err = os.Rename(idx.Name(), stem+".idx")
	}
	fail.Point(fpBetweenRenames)
	if err == nil {
		err = os.Rename(p.Path(), stem+".pack")
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(idx.Name())), ignoreMissing(os.Remove(stem+".idx")))
	}
	p.Keep()
	fail.Point(fpAfterPublish)
	if err := syncDir(s.packDir()); err != nil {
		return err
	}
	x, err := packfile.OpenIndexed(stem+".pack", stem+".idx", s.format)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.packs, s.names = append(s.packs[:len(s.packs):len(s.packs)], x), append(s.names, stem)
	s.mu.Unlock()
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // our own directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Pack implements driver.Store.
func (s *store) Pack(ctx context.Context, w io.Writer, want, have []driver.Hash) (driver.PackStats, error) {
	return WritePack(ctx, s, s.format, w, want, have)
}

// WritePack writes the pack of all objects reachable from want and not from
// have, for drivers without an encoder of their own.
func WritePack(ctx context.Context, s driver.Store, f driver.Format, w io.Writer, want, have []driver.Hash) (st driver.PackStats, err error) {
	ids, err := reach.Missing(ctx, s, want, have)
	if err != nil {
		return st, err
	}
	p, err := packfile.NewWriter(w, f, uint32(len(ids))) //nolint:gosec // far below
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
	var errs []error
	for _, p := range s.packs {
		errs = append(errs, p.Close())
	}
	s.packs = nil
	return errors.Join(errs...)
}

// Missing lists the objects reachable from want and not from have, commits and
// tags first, for drivers with an encoder of their own.
func Missing(ctx context.Context, s driver.Store, want, have []driver.Hash) ([]driver.Hash, error) {
	return reach.Missing(ctx, s, want, have)
}

// ID computes the id of an object, for drivers whose library does not look for
// collisions of SHA-1: one is ErrMalformedObject.
func ID(f driver.Format, t driver.Type, body []byte) (driver.Hash, error) {
	return objhash.Of(f, t, body)
}
