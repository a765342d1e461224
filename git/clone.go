// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/gogit"
	"github.com/gitops-kit/sdk/git/internal/refname"
	"github.com/gitops-kit/sdk/git/internal/worktree"
	"github.com/gitops-kit/sdk/git/packstore"
)

// CloneOptions configure [Client.Clone].
type CloneOptions struct {
	// Depth is the number of commits of history. Zero: 1; negative: all.
	Depth int
	// Sparse lists directories to materialise, as for a checkout.
	Sparse []string
	// Verify requires signatures. Nil: none.
	Verify *VerifyPolicy
	// Submodules writes the files of submodules as well, without a .git of
	// their own. Zero: empty directories.
	Submodules bool
	// LFS replaces pointer files by the content they point to; what Switch
	// writes later stays a pointer. A changed large file cannot be committed,
	// unless as a pointer: nothing is uploaded. Zero: pointers stay.
	LFS bool
}

// check refuses what needs no request to be wrong.
func (o *CloneOptions) check() error {
	if o.Verify != nil {
		if err := o.Verify.check(); err != nil {
			return err
		}
	}
	_, err := worktree.NewSparse(o.Sparse)
	return err
}

// Clone makes a working copy in dir, which must not exist or be empty. An
// empty remote gives a repository with an unborn branch: the one asked for,
// else the remote's HEAD, else main.
func (c *Client) Clone(ctx context.Context, r Reference, dir string, o CloneOptions) (*Repository, error) {
	repo, err := c.clone(ctx, r, dir, o)
	return repo, c.wrap(ctx, "clone", r.String(), err)
}

func (c *Client) clone(ctx context.Context, ref Reference, dir string, o CloneOptions) (*Repository, error) {
	if err := freeTarget(dir); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	resolved, err := c.resolve(ctx, ref, ResolveOptions{})
	if errors.Is(err, ErrEmptyRepository) && ref.Tag == "" && ref.SemVer == "" && ref.Name == "" && ref.Commit == "" {
		return c.cloneEmpty(ctx, ref, dir)
	}
	if err != nil {
		return nil, err
	}
	depth := max(o.Depth, 0)
	if o.Depth == 0 {
		depth = 1
	}
	var repo *Repository
	co := CheckoutOptions{Sparse: o.Sparse, Verify: o.Verify, Submodules: o.Submodules, LFS: o.LFS}
	err = c.withPack(ctx, resolved, co, depth, func(s *snapshot) error {
		repo = &Repository{c: c, format: s.commit.Hash.Format(), sparse: s.sparse, out: s.out}
		repo.setHead(s)
		return inPlace(dir, func(work string) error { return repo.fill(ctx, s, work, co) })
	})
	if err != nil {
		return nil, err
	}
	return repo, repo.open(ctx, dir)
}

// setHead takes references and boundary from what was fetched.
func (r *Repository) setHead(s *snapshot) {
	f := s.from
	r.head, r.tree = s.commit.Hash, s.commit.Tree
	r.remote, r.local, r.shallow = map[string]Hash{}, map[string]Hash{}, map[Hash]bool{}
	for _, id := range f.shallow {
		if _, ok := s.from.pack.Find(id); ok {
			r.shallow[id] = true
		}
	}
	ref := strings.TrimSuffix(f.resolved.Ref, "^{}")
	if b, ok := strings.CutPrefix(ref, "refs/heads/"); ok && f.resolved.Reference.Commit == "" && refname.Valid(ref) {
		r.branch = b
		r.remote[ref], r.local[b] = r.head, r.head
	}
}

func (c *Client) chooseDriver(f driver.Format) driver.Driver {
	var d driver.Driver = gogit.New(gogit.Options{})
	if c.opts.Driver != nil {
		d = c.opts.Driver
	}
	if slices.Contains(d.Formats(), f) {
		return d
	}
	return packstore.New(packstore.Options{})
}

// fill writes worktree and .git into a directory that is not in place yet.
func (r *Repository) fill(ctx context.Context, s *snapshot, work string, o CheckoutOptions) error {
	r.dir = work
	if err := r.initDir(); err != nil {
		return err
	}
	st, err := r.openStore(ctx)
	if err != nil {
		return err
	}
	// More than one where blobs were left out and those of the sparse set
	// fetched behind.
	for _, p := range s.own.list {
		if err == nil {
			_, err = st.AddPack(ctx, p.Stream(), driver.PackOptions{Size: p.Size()})
		}
	}
	if err = errors.Join(err, st.Close()); err != nil {
		return fmt.Errorf("driver %s: %w", r.driver.Name(), err)
	}
	if r.partial = s.from.filtered; r.partial {
		if err := r.promise(); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(work)
	if err != nil {
		return err
	}
	r.root, r.files = root, make(map[string]fileState, s.totals.Files+s.totals.Links)
	var mu sync.Mutex
	s.wrote = func(path string, info fs.FileInfo) {
		var f fileState
		f.note(info)
		mu.Lock()
		r.files[path] = f
		mu.Unlock()
	}
	err = s.write(ctx, root, o)
	if err == nil {
		err = r.indexTree(source{s.db.reader()}, s.lfs)
	}
	if err = errors.Join(err, root.Close()); err != nil {
		return err
	}
	return r.writeMeta(s)
}

// promise marks the packs as those of a remote that has the rest, as git does,
// so that what is missing is no damage to its programs.
func (r *Repository) promise() error {
	dir := filepath.Join(r.gitDir(), "objects", "pack")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".pack"); ok {
			errs = append(errs, os.WriteFile(filepath.Join(dir, name+".promisor"), nil, 0o644)) //nolint:gosec // as git does, before umask
		}
	}
	return errors.Join(errs...)
}

func (r *Repository) initDir() error {
	for _, d := range []string{"objects/pack", "objects/info", "refs/heads", "refs/tags", "info"} {
		if err := os.MkdirAll(filepath.Join(r.gitDir(), filepath.FromSlash(d)), 0o755); err != nil { //nolint:gosec // as git does, before umask
			return err
		}
	}
	return nil
}

func (r *Repository) openStore(ctx context.Context) (driver.Store, error) {
	r.driver = r.c.chooseDriver(r.format)
	lim := r.c.opts.Limits
	s, err := r.driver.Open(ctx, r.gitDir(), driver.OpenOptions{Format: r.format, MaxObject: lim.Object, MaxDeltaDepth: lim.DeltaDepth})
	if err != nil {
		return nil, fmt.Errorf("driver %s: %w", r.driver.Name(), err)
	}
	return s, nil
}

// writeMeta writes everything of .git but the objects.
func (r *Repository) writeMeta(s *snapshot) error {
	err := errors.Join(r.writeHead(), r.writeConfig(r.c.shown), r.writeShallow(), r.writeIndex())
	if r.branch != "" {
		err = errors.Join(err, r.setRef("refs/heads/"+r.branch, r.head), r.setRef("refs/remotes/origin/"+r.branch, r.head))
	}
	if res := s.from.resolved; err == nil && !res.Tag.IsZero() {
		if name := strings.TrimSuffix(res.Ref, "^{}"); refname.Valid(name) {
			err = r.setRef(name, res.Tag)
		}
	}
	return err
}

// open opens handles on the directory in its final place.
func (r *Repository) open(ctx context.Context, dir string) error {
	r.dir = dir
	var err error
	if r.root, err = os.OpenRoot(dir); err != nil {
		return err
	}
	if r.store, err = r.openStore(ctx); err != nil {
		return errors.Join(err, r.root.Close())
	}
	return nil
}

// indexTree completes the state of every file of the tree. That of files was
// taken when they were written; what else there is is looked at here.
func (r *Repository) indexTree(src worktree.Source, large *lfsFiles) error {
	w, err := worktree.NewWalker(src, r.tree, nil, r.c.opts.Limits.tree())
	if err != nil {
		return err
	}
	var step worktree.Step
	for {
		more, err := w.Next(&step)
		if err != nil {
			return err
		}
		if !more {
			r.stamp = time.Now().Add(-raceWindow)
			return nil
		}
		if step.Kind != worktree.File {
			continue
		}
		// What is not there was left out: by the sparse set, or a refused link.
		path := step.Path()
		s, written := r.files[path]
		if !written {
			info, err := r.root.Lstat(path)
			if s.absent = err != nil; err == nil {
				s.note(info)
			}
		}
		s.id, s.mode, s.large = step.Entry.Hash, step.Entry.Mode, large.pointer(path)
		r.files[path] = s
	}
}

// raceWindow is how long a file may change without its time stamp moving.
const raceWindow = 20 * time.Millisecond

func (c *Client) cloneEmpty(ctx context.Context, ref Reference, dir string) (*Repository, error) {
	l, err := c.list(ctx, ListOptions{Prefixes: []string{"HEAD"}})
	if err != nil {
		return nil, err
	}
	r := &Repository{c: c, format: l.Format, remote: map[string]Hash{}, local: map[string]Hash{}, shallow: map[Hash]bool{}, files: map[string]fileState{}}
	r.branch = first(ref.Branch, strings.TrimPrefix(l.Head, "refs/heads/"), "main")
	if !refname.Valid("refs/heads/" + r.branch) {
		r.branch = "main"
	}
	err = inPlace(dir, func(work string) error {
		r.dir = work
		if err := r.initDir(); err != nil {
			return err
		}
		return errors.Join(r.writeHead(), r.writeConfig(c.shown), r.writeIndex())
	})
	if err != nil {
		return nil, err
	}
	return r, r.open(ctx, dir)
}
