// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/worktree"
)

// reader implements objectDB.
func (u *mirrorUse) reader() objectReader { return &mirrorReader{u: u} }

type mirrorReader struct {
	u   *mirrorUse
	buf []byte
}

// judge drops the mirror when its objects are not what they were; what it says
// to have, it has as a whole.
func (r *mirrorReader) judge(err error) error {
	if err != nil && r.u.ctx.Err() == nil && broken(err) {
		return r.u.damaged(err)
	}
	return err
}

// stat trusts the headers of the pack. What contradicts them comes to light
// where the object is read, or by doubt.
func (r *mirrorReader) stat(id driver.Hash) (driver.Type, int64, error) {
	t, n, err := r.u.s.Stat(id)
	return t, n, r.judge(err)
}

func (r *mirrorReader) get(id driver.Hash) (driver.Type, []byte, error) {
	t, b, err := r.u.s.Get(r.u.ctx, id)
	return t, b, r.judge(err)
}

func (r *mirrorReader) open(id driver.Hash) (io.ReadCloser, error) {
	_, _, b, err := r.u.s.Stream(r.u.ctx, id)
	if err != nil {
		return nil, r.judge(err)
	}
	return &judged{b, r}, nil
}

func (r *mirrorReader) copyTo(id driver.Hash, w io.Writer) error {
	_, _, err := r.copy(id, w)
	return err
}

// copy writes an object to w. What it wrote before an error is worthless.
func (r *mirrorReader) copy(id driver.Hash, w io.Writer) (driver.Type, int64, error) {
	t, n, b, err := r.u.s.Stream(r.u.ctx, id)
	if err != nil {
		return t, n, r.judge(err)
	}
	if to, ok := b.(io.WriterTo); ok {
		_, err = to.WriteTo(w)
	} else {
		if r.buf == nil {
			r.buf = make([]byte, 64<<10)
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, judged{b, r}, r.buf)
	}
	return t, n, errors.Join(err, b.Close())
}

// judged judges the errors of reading, not those of writing.
type judged struct {
	io.ReadCloser
	r *mirrorReader
}

// Read implements io.Reader.
func (j judged) Read(b []byte) (int, error) {
	n, err := j.ReadCloser.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = j.r.judge(err)
	}
	return n, err
}

// intact reads one object and compares id, type and size with what its header says.
func (r *mirrorReader) intact(id driver.Hash) error {
	t, n, err := r.stat(id)
	if err != nil {
		return err
	}
	t2, n2, err := r.copy(id, io.Discard)
	if err == nil && (t2 != t || n2 != n) {
		err = r.judge(fmt.Errorf("object %s is not what its header says: %w", id, ErrMalformedObject))
	}
	return err
}

// doubt looks, after an error that damage of the mirror can be the cause of,
// whether it is: headers in a pack lie before the objects are read.
func (s *snapshot) doubt(ctx context.Context, err error) error {
	if err == nil || s.held == nil && len(s.subs) == 0 || s.settled || ctx.Err() != nil || errors.Is(err, errMirrorDamaged) {
		return err
	}
	for _, e := range []error{ErrNotACommit, ErrMalformedObject, ErrMalformedPack, ErrMismatch, ErrLimit} {
		if errors.Is(err, e) {
			if found := s.intact(ctx); errors.Is(found, errMirrorDamaged) {
				return found
			}
			return err
		}
	}
	return err
}

// intact reads everything of the snapshot and of its submodules that comes
// from the mirror. Errors that are no damage are none of its business.
func (s *snapshot) intact(ctx context.Context) error {
	for _, sub := range s.subs {
		if err := sub.intact(ctx); err != nil {
			return err
		}
	}
	if s.held == nil {
		return nil
	}
	r := &mirrorReader{u: s.held}
	tree, err := r.intactCommit(s.from.resolved, s.c.opts.Limits.tagChain())
	if err != nil || tree.IsZero() {
		return err
	}
	ids := make(chan Hash, 64)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 4) {
		wg.Go(func() {
			r := &mirrorReader{u: s.held}
			for id := range ids {
				if err := r.intact(id); err != nil {
					cancel(err)
				}
			}
		})
	}
	err = s.eachBlob(ctx, tree, ids)
	close(ids)
	wg.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// intactCommit reads tags and commit, and returns the tree.
func (r *mirrorReader) intactCommit(res *Resolved, chain int64) (Hash, error) {
	id := res.tip().shown
	for range chain + 1 {
		if err := r.intact(id); err != nil {
			return Hash{}, err
		}
		t, raw, err := r.get(id)
		if err != nil {
			return Hash{}, err
		}
		if t == driver.Commit {
			c, err := object.ParseCommit(id, raw)
			if err != nil {
				return Hash{}, nil //nolint:nilerr // that is the server's
			}
			return c.Tree, nil
		}
		tag, err := object.ParseTag(id, raw)
		if t != driver.Tag || err != nil {
			return Hash{}, nil //nolint:nilerr // that is the server's
		}
		id = tag.Target
	}
	return Hash{}, nil
}

// eachBlob sends the blobs of the sparse set, and reads the trees on the way.
// It goes no further than the limits let a checkout go.
func (s *snapshot) eachBlob(ctx context.Context, tree Hash, ids chan<- Hash) error {
	lim := s.c.opts.Limits.tree().Fill()
	r := &mirrorReader{u: s.held}
	w, err := worktree.NewWalker(source{r}, tree, s.sparse, lim)
	var step worktree.Step
	var entries, total int64
	for more := true; err == nil && more && entries <= lim.Files && total <= lim.Bytes; {
		if more, err = w.Next(&step); err != nil || !more || step.Kind == worktree.Leave {
			continue
		}
		if entries++; step.Kind != worktree.File || step.Entry.Mode == object.ModeGitlink {
			continue
		}
		var size int64
		if _, size, err = r.stat(step.Entry.Hash); err != nil {
			continue
		}
		total += size
		select {
		case ids <- step.Entry.Hash:
		case <-ctx.Done():
			return nil
		}
	}
	if errors.Is(err, errMirrorDamaged) {
		return err
	}
	return nil // that is the server's
}
