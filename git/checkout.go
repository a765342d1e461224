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
	"runtime"
	"syscall"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/fail"
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
	// Submodules checks submodules out as well. Zero: empty directories.
	Submodules bool
	// LFS replaces pointer files by the content they point to. Zero: pointers stay.
	LFS bool
	// Symlinks says what happens to symbolic links. Zero: LinksKeep.
	Symlinks LinkPolicy
}

// Checkout is what a checkout or export brought.
type Checkout struct {
	Commit   *Commit
	Tag      *Tag // the annotated tag that was resolved, nil without
	Revision Revision
	Verified *Verification // nil unless asked for
	// Submodules lists those that were checked out, parents first.
	Submodules []Submodule
	Stats      Stats
	Notes      []Note
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

// snapshot is one verified commit with its objects, and with its submodules
// where they are asked for.
type snapshot struct {
	c      *Client
	out    *Checkout
	db     objectDB
	own    *packs
	held   *mirrorUse // objects in the mirror instead
	dir    string     // for packs that are fetched later
	commit *object.Commit
	sparse *worktree.Sparse
	totals worktree.Totals
	from   *fetched

	root  *snapshot // the superproject, itself at the top
	line  *lineage
	above []string
	subs  map[string]*snapshot
	lfs   *lfsFiles

	mirror mirrorMode
	// settled says that somebody outside has seen content: there is no second try.
	settled bool

	// wrote is told the state of each regular file written, by several
	// goroutines. Nil: nobody is.
	wrote func(path string, info fs.FileInfo)
}

// mirrorMode says whether a snapshot may use the mirror.
type mirrorMode uint8

const (
	mirrorOn      mirrorMode = iota
	mirrorOff                // the pack itself is needed
	mirrorDamaged            // it was found damaged a moment ago
)

// withSnapshot fetches, verifies and checks a commit, hands it to use, and
// cleans up.
func (c *Client) withSnapshot(ctx context.Context, r *Resolved, o CheckoutOptions, depth int, use func(*snapshot) error) (err error) {
	if r == nil || r.Commit.IsZero() {
		return fmt.Errorf("%w: nothing resolved", ErrInvalidRef)
	}
	if o.Verify != nil {
		if err := o.Verify.check(); err != nil {
			return err
		}
	}
	if _, err := worktree.NewSparse(o.Sparse); err != nil {
		return err
	}
	again, err := c.snapshotOnce(ctx, r, o, depth, mirrorOn, use)
	if again {
		_, err = c.snapshotOnce(ctx, r, o, depth, mirrorDamaged, use)
	}
	return err
}

// withPack is withSnapshot for callers that need the pack itself.
func (c *Client) withPack(ctx context.Context, r *Resolved, o CheckoutOptions, depth int, use func(*snapshot) error) error {
	if o.Verify != nil {
		if err := o.Verify.check(); err != nil {
			return err
		}
	}
	_, err := c.snapshotOnce(ctx, r, o, depth, mirrorOff, use)
	return err
}

// snapshotOnce is one try. again says that another one without the mirror is due.
func (c *Client) snapshotOnce(ctx context.Context, r *Resolved, o CheckoutOptions, depth int, mirror mirrorMode, use func(*snapshot) error) (again bool, err error) {
	dir, remove, err := c.tempDir()
	if err != nil {
		return false, err
	}
	defer closed(&err, remove)
	s := &snapshot{c: c, dir: dir, line: &lineage{}, mirror: mirror}
	s.root = s
	defer closed(&err, s.close)
	if err = s.load(ctx, r, o, depth); err == nil {
		err = use(s)
	}
	err = s.doubt(ctx, err)
	return errors.Is(err, errMirrorDamaged) && !s.settled, err
}

// fetch gets the objects: from the mirror where there is one, else from the
// server.
func (s *snapshot) fetch(ctx context.Context, r *Resolved, depth int) (*fetched, error) {
	if m := s.c.opts.Mirror; m != nil && s.root.mirror == mirrorOn {
		f, held, err := m.fetch(ctx, s.c, r, s.sparse != nil)
		if err != nil {
			return nil, err
		}
		if f != nil {
			s.held, s.from, s.db = held, f, held
			return f, nil
		}
	}
	f, err := s.c.fetchExact(ctx, r, fetchPlan{depth: depth, filter: s.sparse != nil && depth == 1}, s.dir)
	if err != nil {
		return nil, err
	}
	s.own = &packs{list: []*packfile.Pack{f.pack}}
	s.db, s.from = s.own, f
	return f, s.line.spend(f.pack, s.root.c.opts.Limits.pack())
}

func (s *snapshot) close() error {
	var errs []error
	if s.held != nil {
		errs = append(errs, s.held.release())
	}
	for _, sub := range s.subs {
		errs = append(errs, sub.close())
	}
	if s.own != nil {
		errs = append(errs, s.own.close())
	}
	return errors.Join(errs...)
}

// load fetches and checks everything, so that what follows only writes.
func (s *snapshot) load(ctx context.Context, r *Resolved, o CheckoutOptions, depth int) error {
	start := time.Now()
	var err error
	if s.sparse, err = worktree.NewSparse(o.Sparse); err != nil {
		return err
	}
	f, err := s.fetch(ctx, r, depth)
	if err != nil {
		return err
	}
	if err := s.c.forward(ctx, f.resolved, o.RequireFastForwardFrom); err != nil {
		return err
	}
	s.out = &Checkout{Revision: f.resolved.Revision, Notes: f.notes}
	s.out.Stats = Stats{Requests: f.requests, Received: f.received}
	if f.pack != nil {
		s.out.Stats.Objects = f.pack.Len()
	}
	if err := s.open(f.resolved, o.Verify); err != nil {
		return err
	}
	if err := s.complete(ctx); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	if o.LFS {
		if err := s.loadLFS(ctx); err != nil {
			return err
		}
	}
	if o.Submodules {
		if err := s.loadSubmodules(ctx, o); err != nil {
			return err
		}
	}
	s.out.Stats.PackTime = time.Since(start)
	if s.mirror == mirrorDamaged {
		s.out.Notes = append(s.out.Notes, Note{MirrorMiss, "the mirror was damaged and is fetched anew"})
	}
	if s.root != s {
		s.root.out.Stats.add(s.out.Stats)
		s.root.out.Notes = append(s.root.out.Notes, s.out.Notes...)
	}
	return nil
}

// check walks the whole tree before anything is written. The limits are
// budgets of the checkout with all its submodules.
func (s *snapshot) check() error {
	t, err := worktree.Check(source{s.db.reader()}, s.commit.Tree, s.sparse, s.c.opts.Limits.tree(), s.line.totals)
	s.totals = t
	s.line.totals.Add(t)
	return err
}

// open reads tag and commit, and verifies them, before anything is used.
func (s *snapshot) open(r *Resolved, policy *VerifyPolicy) error {
	rd := s.db.reader()
	meta := s.c.opts.Limits.meta()
	var tag *object.Tag
	var err error
	if !r.Tag.IsZero() {
		if tag, err = s.tag(rd, r); err != nil {
			return policy.malformed("tag", r.Tag, err)
		}
		s.out.Tag = newTag(tag)
	}
	if s.commit, err = readCommit(rd, r.Commit, meta); err != nil {
		if errors.Is(err, driver.ErrObjectNotFound) {
			return fmt.Errorf("pack lacks the commit %s: %w", r.Commit, ErrMismatch)
		}
		return policy.malformed("commit", r.Commit, err)
	}
	s.out.Commit = newCommit(s.commit)
	if policy != nil {
		return s.verify(policy, r, tag)
	}
	return nil
}

// tag follows the chain of tags to the commit and returns the outermost.
func (s *snapshot) tag(rd objectReader, r *Resolved) (*object.Tag, error) {
	var outer *object.Tag
	id := r.Tag
	for n := int64(1); ; n++ {
		if err := limits.Check("git-tag-chain", s.c.opts.Limits.tagChain(), n); err != nil {
			return nil, err
		}
		typ, size, err := rd.stat(id)
		if errors.Is(err, driver.ErrObjectNotFound) {
			return nil, fmt.Errorf("pack lacks the tag %s: %w", id, ErrMismatch)
		}
		if err != nil {
			return nil, err
		}
		if err := limits.Check("git-meta", s.c.opts.Limits.meta(), size); err != nil {
			return nil, err
		}
		if typ != driver.Tag {
			return nil, fmt.Errorf("%s is a %s and no tag: %w", id, typ, ErrMismatch)
		}
		_, raw, err := rd.get(id)
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
	fail.Point(fpBeforePublish)
	defer fail.Point(fpAfterCheckout)
	return replaceEmpty(work, dir)
}

// replaceEmpty renames a directory to a name that is free or an empty
// directory. Where it fails, what was there is there.
func replaceEmpty(work, dir string) error {
	err := syscall.Rename(work, dir) // os.Rename does not replace a directory
	for errors.Is(err, syscall.EINTR) {
		err = syscall.Rename(work, dir)
	}
	if err != nil {
		// Windows replaces none, and nothing replaces a link to one.
		if i, lerr := os.Lstat(dir); lerr == nil && (runtime.GOOS == "windows" && i.IsDir() || i.Mode()&fs.ModeSymlink != 0) {
			if rerr := os.Remove(dir); rerr == nil {
				err = os.Rename(work, dir)
			}
		}
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: work, New: dir, Err: err}
	}
	return nil
}

// write writes the files below an empty root, then those of the submodules.
func (s *snapshot) write(ctx context.Context, root *os.Root, o CheckoutOptions) error {
	start := time.Now()
	w := &worktree.Writer{Source: source{s.db.reader()}, Open: s.blobs, Limits: s.c.opts.Limits.tree(), Links: o.Symlinks, Wrote: s.wrote}
	if s.lfs != nil {
		w.Replace = s.lfs.replace
	}
	rep, err := w.Write(ctx, root, s.commit.Tree, s.sparse)
	top := &s.root.out.Stats
	top.Files, top.Written, top.WriteTime = top.Files+rep.Files, top.Written+rep.Bytes, top.WriteTime+time.Since(start)
	s.c.observe(Event{Kind: "write", Bytes: rep.Bytes, Duration: time.Since(start), Err: err})
	if len(rep.Refused) > 0 {
		s.root.out.Notes = append(s.root.out.Notes, linkNote(rep.Refused))
	}
	for path, sub := range s.subs {
		if err != nil {
			return err
		}
		var dir *os.Root
		if dir, err = root.OpenRoot(path); err == nil {
			err = errors.Join(sub.write(ctx, dir, o), dir.Close())
		}
	}
	return err
}

func linkNote(paths []string) Note {
	return Note{LinkRefused, fmt.Sprintf("%d symbolic links left out, first %q", len(paths), paths[0])}
}

func (s *snapshot) blobs() worktree.Blobs { return source{s.db.reader()} }
