// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"errors"
	"hash"
	"io"
	"os"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/untar/digest"
	"github.com/gitops-kit/sdk/untar/ignore"
	"github.com/gitops-kit/sdk/untar/tarball"
)

// WriteOptions control one write. The zero value replaces other content.
type WriteOptions struct {
	// Metadata is copied to the artifact.
	Metadata map[string]string
	// Immutable makes other content under the same key an [ErrConflict]. The
	// zero value replaces it as one step.
	Immutable bool
}

// PackOptions control [Store.Pack]. The zero value packs the whole tree.
type PackOptions struct {
	WriteOptions
	// Ignore leaves out what it ignores. Nil: nothing.
	Ignore *ignore.Matcher
	// Skip leaves out paths for which it returns true. Nil: nothing.
	Skip func(path string, dir bool) bool
	// Level is the effort of compression. Zero: the default.
	Level tarball.Level
	// Limits bound the tree. The zero value has the defaults.
	Limits tarball.Limits
	// Result receives what tarball reports, if it is not nil.
	Result *tarball.Result
}

// Write stores what fill writes under k and describes it. The file appears
// as a whole when everything is on disk; when fill or anything else fails,
// nothing changed. Content that is stored already is not written again, and
// the artifact has the time of its first writing; a [Keeper] is asked whether
// it is stored indeed.
//
// fill may be called a second time: when space ran out and files that nobody
// uses could be removed. It must then write everything again.
func (s *Store) Write(ctx context.Context, k Key, revision string, fill func(io.Writer) error, o WriteOptions) (*meta.Artifact, error) {
	k = k.normal()
	if err := k.Validate(); err != nil {
		return nil, opError("write", k, err)
	}
	if err := s.locks.lock(ctx, k); err != nil {
		return nil, opError("write", k, err)
	}
	defer s.locks.unlock(k)
	st, err := s.write(ctx, k, fill, o)
	if err != nil && isFull(err) && s.makeSpace(ctx, k) {
		st, err = s.write(ctx, k, fill, o)
	}
	if err != nil && isFull(err) && !errors.Is(err, ErrStorageFull) {
		err = errors.Join(ErrStorageFull, err)
	}
	if err != nil {
		return nil, opError("write", k, err)
	}
	s.setCurrent(k)
	size := st.Size
	return &meta.Artifact{
		Path: k.String(), URL: s.URL(k), Revision: revision, Digest: st.Digest, Size: &size,
		LastUpdateTime: metav1.NewTime(st.Written.UTC().Truncate(time.Second)), Metadata: o.Metadata,
	}, nil
}

// Pack stores the tree below root as a reproducible archive (package
// tarball, normalised modes): the same tree has the same digest everywhere.
func (s *Store) Pack(ctx context.Context, k Key, revision string, root *os.Root, o PackOptions) (*meta.Artifact, error) {
	return s.Write(ctx, k, revision, func(w io.Writer) error {
		res, err := tarball.Pack(ctx, w, root, tarball.Options{
			Ignore: o.Ignore, Skip: o.Skip, Level: o.Level, Limits: o.Limits,
		})
		if err == nil && o.Result != nil {
			*o.Result = *res
		}
		return err
	}, o.WriteOptions)
}

func isFull(err error) bool {
	return errors.Is(err, ErrStorageFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

var errUnchanged = errors.New("content is stored already")

// write is one attempt. The driver pulls from a content, fill pushes into
// it.
func (s *Store) write(ctx context.Context, k Key, fill func(io.Writer) error, o WriteOptions) (Stat, error) {
	before, err := s.stored(ctx, k)
	if err != nil {
		return Stat{}, err
	}
	if err := s.space(ctx); err != nil {
		return Stat{}, err
	}
	h, err := digest.New(s.o.Algorithm)
	if err != nil {
		return Stat{}, err
	}
	pr, pw := io.Pipe()
	c := &content{
		ctx: ctx, s: s, r: pr, hash: h, limit: s.o.Limits.artifact(), before: before, immutable: o.Immutable,
		ended: make(chan struct{}),
	}
	go func() {
		defer close(c.ended)
		_ = pw.CloseWithError(fill(pw))
	}()
	st, err := s.d.Put(ctx, k, c)
	if err != nil {
		_ = pr.CloseWithError(err)
	}
	<-c.ended
	switch {
	case errors.Is(err, errUnchanged):
		s.observe(Event{Type: Unchanged, Key: k, Size: before.Size})
		return *before, nil
	case c.err != nil && !errors.Is(c.err, io.EOF):
		return Stat{}, c.err
	case err != nil:
		return Stat{}, err
	}
	st.Digest = c.Digest()
	s.note(ctx, k, st)
	s.observe(Event{Type: Written, Key: k, Size: st.Size})
	return st, nil
}

// stored is what the key holds now, if it is intact; nil if nothing.
func (s *Store) stored(ctx context.Context, k Key) (*Stat, error) {
	b, err := s.Lookup(ctx, k)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer b.Close() //nolint:errcheck // opened for reading
	if b.Stat.Key != k {
		return nil, nil // a link of that name
	}
	if err := b.Verify(ctx); err != nil {
		if errors.Is(err, ErrCorrupt) {
			return nil, nil
		}
		return nil, err
	}
	return &b.Stat, nil
}

// content is the stream from fill to the driver, hashed and counted on the
// way. It decides before the driver sees the end whether anything is to be
// stored.
type content struct {
	ctx       context.Context //nolint:containedctx // lives for one write
	s         *Store
	r         io.Reader
	hash      hash.Hash
	n         int64
	checked   int64
	limit     int64
	before    *Stat
	immutable bool
	err       error
	ended     chan struct{}
}

const spaceEvery = 8 << 20

func (c *content) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.err = c.ctx.Err(); c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p)
	_, _ = c.hash.Write(p[:n])
	c.n += int64(n)
	switch {
	case c.n > c.limit:
		c.err = &LimitError{Name: limitArtifact, Max: c.limit, Got: c.n}
		return 0, c.err
	case errors.Is(err, io.EOF):
		c.err = c.end()
	case err != nil:
		c.err = err
	case c.n-c.checked >= spaceEvery:
		c.checked = c.n
		c.err = c.s.space(c.ctx)
	}
	return n, c.err
}

// end compares with what is stored.
func (c *content) end() error {
	switch {
	case c.before == nil:
		return io.EOF
	case c.before.Digest == c.Digest() && c.before.Size == c.n:
		switch err := c.s.keep(c.ctx, *c.before); {
		case errors.Is(err, ErrNotFound):
			return io.EOF // there was a copy of it only, and now not even that
		case err != nil:
			return err
		}
		return errUnchanged
	case c.immutable:
		return ErrConflict
	}
	return io.EOF
}

// keep makes sure that a file is not in a cache alone.
func (s *Store) keep(ctx context.Context, st Stat) error {
	k, ok := s.d.(Keeper)
	if !ok {
		return nil
	}
	restored, err := k.Keep(ctx, st.Key)
	if restored {
		s.observe(Event{Type: Restored, Key: st.Key, Size: st.Size})
	}
	return err
}

// Digest implements Content.
func (c *content) Digest() string { return digest.Sum(c.s.o.Algorithm, c.hash).String() }

// space refuses when too little is free.
func (s *Store) space(ctx context.Context) error {
	sp, ok := s.d.(Spacer)
	if !ok {
		return nil
	}
	free, total, err := sp.Space(ctx)
	if err != nil {
		return err
	}
	if free < s.o.Limits.Free.least(total) {
		return ErrStorageFull
	}
	return nil
}
