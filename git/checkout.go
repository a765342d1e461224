// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/git/internal/worktree"
)

// LinkPolicy says what happens to symbolic links.
type LinkPolicy = worktree.LinkPolicy

const (
	// LinksKeep writes links unchanged; it is the zero value.
	LinksKeep = worktree.LinksKeep
	// LinksSkip leaves links out.
	LinksSkip = worktree.LinksSkip
	// LinksFail makes a link an error.
	LinksFail = worktree.LinksFail
)

// CheckoutOptions configure [Client.Checkout] and [Client.Export].
type CheckoutOptions struct {
	// Sparse lists directories to materialise, with everything below them.
	// Files beside them are left out. Zero: everything.
	Sparse []string
	// Verify requires signatures. Nil: none.
	Verify *VerifyPolicy
	// RequireFastForwardFrom makes a commit that does not descend from this
	// one an ErrRollback. Zero: not checked.
	RequireFastForwardFrom Hash
	// Symlinks says what happens to symbolic links. Zero: LinksKeep.
	Symlinks LinkPolicy
}

// Checkout is what a checkout or export brought.
type Checkout struct {
	Commit   *Commit
	Tag      *Tag // the annotated tag that was resolved, nil without
	Revision Revision
	Verified *Verification // nil unless asked for
	Stats    Stats
	Notes    []Note
}

// Checkout writes the resolved commit into dir, which must not exist or be
// empty. It appears as a whole or not at all: the files are written beside it
// and renamed into place at the end.
func (c *Client) Checkout(ctx context.Context, r *Resolved, dir string, o CheckoutOptions) (*Checkout, error) {
	out, err := c.checkout(ctx, r, dir, o)
	return out, c.wrap(ctx, "checkout", refText(r), err)
}

func refText(r *Resolved) string {
	if r == nil {
		return ""
	}
	return r.Revision.String()
}

func (c *Client) checkout(ctx context.Context, r *Resolved, dir string, o CheckoutOptions) (out *Checkout, err error) {
	if err := freeTarget(dir); err != nil {
		return nil, err
	}
	err = c.withSnapshot(ctx, r, o, 1, func(s *snapshot) error {
		out = s.out
		return s.materialise(ctx, dir, o)
	})
	return out, err
}

// freeTarget checks that dir is absent or an empty directory.
func freeTarget(dir string) error {
	if dir == "" {
		return fmt.Errorf("%w: no target directory", ErrInvalidOption)
	}
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("target directory: %w", err)
	}
	_, err = f.Readdirnames(1)
	if cerr := f.Close(); err == nil || cerr != nil {
		return errors.Join(fmt.Errorf("%w: target directory %q is not empty", ErrInvalidOption, filepath.Base(dir)), cerr)
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("target directory: %w", err)
	}
	return nil
}

// snapshot is one verified commit with its objects.
type snapshot struct {
	c      *Client
	out    *Checkout
	pack   *packfile.Pack
	commit *object.Commit
	sparse *worktree.Sparse
	totals worktree.Totals
	from   *fetched
}

// withSnapshot fetches, verifies and checks a commit, hands it to use, and
// cleans up.
func (c *Client) withSnapshot(ctx context.Context, r *Resolved, o CheckoutOptions, depth int, use func(*snapshot) error) (err error) {
	if r == nil || r.Commit.IsZero() {
		return fmt.Errorf("%w: nothing resolved", ErrInvalidRef)
	}
	sparse, err := worktree.NewSparse(o.Sparse)
	if err != nil {
		return err
	}
	if o.Verify != nil {
		if err := o.Verify.check(); err != nil {
			return err
		}
	}
	if from := o.RequireFastForwardFrom; !from.IsZero() {
		ok, err := c.descends(ctx, r.Commit, from)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%s from %s: %w", r.Commit, from, ErrRollback)
		}
	}
	dir, remove, err := c.tempDir()
	if err != nil {
		return err
	}
	defer closed(&err, remove)
	start := time.Now()
	f, err := c.fetchExact(ctx, r, depth, dir)
	if err != nil {
		return err
	}
	defer closed(&err, f.pack.Close)
	s := &snapshot{c: c, pack: f.pack, sparse: sparse, from: f}
	s.out = &Checkout{Revision: f.resolved.Revision, Notes: f.notes}
	s.out.Stats = Stats{Requests: f.requests, Received: f.received, Objects: f.pack.Len(), PackTime: time.Since(start)}
	if err := s.open(f.resolved, o.Verify); err != nil {
		return err
	}
	return use(s)
}

// open reads tag and commit, and checks the whole tree, before anything is
// used.
func (s *snapshot) open(r *Resolved, policy *VerifyPolicy) error {
	rd := s.pack.NewReader()
	meta := s.c.opts.Limits.meta()
	var tag *object.Tag
	var err error
	if !r.Tag.IsZero() {
		if tag, err = s.tag(rd, r); err != nil {
			return err
		}
		s.out.Tag = newTag(tag)
	}
	if s.commit, err = readCommit(s.pack, rd, r.Commit, meta); err != nil {
		if errors.Is(err, driver.ErrObjectNotFound) {
			return fmt.Errorf("pack lacks the commit %s: %w", r.Commit, ErrMismatch)
		}
		return err
	}
	s.out.Commit = newCommit(s.commit)
	if policy != nil {
		if err := s.verify(policy, r, tag); err != nil {
			return err
		}
	}
	s.totals, err = worktree.Check(s.source(rd), s.commit.Tree, s.sparse, s.c.opts.Limits.tree())
	return err
}

// tag follows the chain of tags to the commit and returns the outermost.
func (s *snapshot) tag(rd *packfile.Reader, r *Resolved) (*object.Tag, error) {
	var outer *object.Tag
	id := r.Tag
	for n := int64(1); ; n++ {
		if err := limits.Check("git-tag-chain", s.c.opts.Limits.tagChain(), n); err != nil {
			return nil, err
		}
		i, ok := s.pack.Find(id)
		if !ok {
			return nil, fmt.Errorf("pack lacks the tag %s: %w", id, ErrMismatch)
		}
		if err := limits.Check("git-meta", s.c.opts.Limits.meta(), s.pack.ObjectSize(i)); err != nil {
			return nil, err
		}
		if s.pack.Type(i) != driver.Tag {
			return nil, fmt.Errorf("%s is a %s and no tag: %w", id, s.pack.Type(i), ErrMismatch)
		}
		raw, err := rd.Get(i)
		if err != nil {
			return nil, err
		}
		t, err := object.ParseTag(id, raw)
		if err != nil {
			return nil, err
		}
		if outer == nil {
			outer = t
		}
		switch {
		case t.Type == driver.Commit && t.Target == r.Commit:
			return outer, nil
		case t.Type == driver.Commit:
			return nil, fmt.Errorf("tag %s leads to %s, not to %s: %w", r.Tag, t.Target, r.Commit, ErrMismatch)
		case t.Type != driver.Tag:
			return nil, fmt.Errorf("tag %q is of a %s: %w", t.Name, t.Type, ErrNotACommit)
		}
		id = t.Target
	}
}

// materialise writes the files beside dir and renames them into place.
func (s *snapshot) materialise(ctx context.Context, dir string, o CheckoutOptions) error {
	return inPlace(dir, func(work string) error {
		root, err := os.OpenRoot(work)
		if err != nil {
			return fmt.Errorf("target directory: %w", err)
		}
		return errors.Join(s.write(ctx, root, o), root.Close())
	})
}

// inPlace lets fill work on a new directory beside dir, and renames it to dir
// when fill succeeded. Nothing is left otherwise.
func inPlace(dir string, fill func(work string) error) (err error) {
	parent, base := filepath.Split(filepath.Clean(dir))
	if parent == "" {
		parent = "."
	}
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // as git does, before umask
		return fmt.Errorf("target directory: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, "."+base+".git-*")
	if err != nil {
		return fmt.Errorf("target directory: %w", err)
	}
	defer closed(&err, func() error { return os.RemoveAll(tmp) })
	// The final directory gets the mode that mkdir would have given it.
	work := filepath.Join(tmp, "tree")
	if err := os.Mkdir(work, 0o755); err != nil { //nolint:gosec // as git does, before umask
		return fmt.Errorf("target directory: %w", err)
	}
	if err := fill(work); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("target directory: %w", err)
	}
	return os.Rename(work, dir)
}

// write writes the files below an empty root.
func (s *snapshot) write(ctx context.Context, root *os.Root, o CheckoutOptions) error {
	start := time.Now()
	w := &worktree.Writer{Source: s.source(s.pack.NewReader()), Open: s.blobs, Limits: s.c.opts.Limits.tree(), Links: o.Symlinks}
	rep, err := w.Write(ctx, root, s.commit.Tree, s.sparse)
	s.out.Stats.Files, s.out.Stats.Written, s.out.Stats.WriteTime = rep.Files, rep.Bytes, time.Since(start)
	s.c.observe(Event{Kind: "write", Bytes: rep.Bytes, Duration: time.Since(start), Err: err})
	if len(rep.Refused) > 0 {
		s.out.Notes = append(s.out.Notes, linkNote(rep.Refused))
	}
	return err
}

func linkNote(paths []string) Note {
	return Note{LinkRefused, fmt.Sprintf("%d symbolic links left out, first %q", len(paths), paths[0])}
}

// treeSource reads trees and sizes for a walk.
type treeSource struct {
	p *packfile.Pack
	r *packfile.Reader
}

func (s *snapshot) source(r *packfile.Reader) treeSource { return treeSource{s.pack, r} }

// emptyTrees are the ids of the tree without entries, which need not be sent.
var emptyTrees = map[string]bool{
	"4b825dc642cb6eb9a060e54bf8d69288fbee4904":                         true,
	"6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321": true,
}

// Tree implements worktree.Source.
func (t treeSource) Tree(id driver.Hash) ([]byte, error) {
	i, ok := t.p.Find(id)
	if !ok {
		if emptyTrees[id.String()] {
			return nil, nil
		}
		return nil, fmt.Errorf("pack lacks tree %s: %w", id, ErrMalformedPack)
	}
	if typ := t.p.Type(i); typ != driver.Tree {
		return nil, fmt.Errorf("%s is a %s and no tree: %w", id, typ, ErrMalformedObject)
	}
	return t.r.Get(i)
}

// BlobSize implements worktree.Source.
func (t treeSource) BlobSize(id driver.Hash) (int64, error) {
	i, err := findBlob(t.p, id)
	if err != nil {
		return 0, err
	}
	return t.p.ObjectSize(i), nil
}

func findBlob(p *packfile.Pack, id driver.Hash) (int, error) {
	i, ok := p.Find(id)
	if !ok {
		return 0, fmt.Errorf("pack lacks blob %s: %w", id, ErrMalformedPack)
	}
	if typ := p.Type(i); typ != driver.Blob {
		return 0, fmt.Errorf("%s is a %s and no blob: %w", id, typ, ErrMalformedObject)
	}
	return i, nil
}

// blobReader writes blobs for one worker.
type blobReader struct {
	p *packfile.Pack
	r *packfile.Reader
}

func (s *snapshot) blobs() worktree.Blobs { return blobReader{s.pack, s.pack.NewReader()} }

// WriteBlob implements worktree.Blobs.
func (b blobReader) WriteBlob(id driver.Hash, w io.Writer) error {
	i, err := findBlob(b.p, id)
	if err != nil {
		return err
	}
	return b.r.WriteTo(i, w)
}
