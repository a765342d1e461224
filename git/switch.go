// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/redact"
	"github.com/gitops-kit/sdk/git/internal/refname"
	"github.com/gitops-kit/sdk/git/internal/worktree"
)

// SwitchOptions configure a switch.
type SwitchOptions struct {
	// Discard throws changes of the worktree away. Files that HEAD does not
	// have stay, unless the branch has a file there.
	Discard bool
}

// Switch goes to a branch: a local one, else the remote's, fetched at depth 1,
// else a new one at HEAD. A worktree with changes is ErrDirty.
func (r *Repository) Switch(ctx context.Context, branch string, o SwitchOptions) error {
	return r.c.wrap(ctx, "switch", branch, r.switchTo(ctx, branch, o))
}

func (r *Repository) switchTo(ctx context.Context, branch string, o SwitchOptions) error {
	ref := "refs/heads/" + branch
	if !refname.Component(branch) || !refname.Valid(ref) {
		return fmt.Errorf("branch %q: %w", branch, ErrInvalidRef)
	}
	changes, err := r.status(ctx)
	if err != nil {
		return err
	}
	if len(changes) > 0 && !o.Discard {
		return fmt.Errorf("%d paths, first %q: %w", len(changes), redact.Text(changes[0].Path, 256), ErrDirty)
	}
	target, ok := r.local[branch]
	if !ok {
		if target, err = r.fetchBranch(ctx, branch); err != nil {
			return err
		}
	}
	if err := r.moveTo(ctx, target, changes); err != nil {
		return err
	}
	r.branch = branch
	if err := r.writeHead(); err != nil || target.IsZero() {
		return err
	}
	r.local[branch] = target
	return errors.Join(r.setRef(ref, target), r.writeShallow())
}

// fetchBranch fetches a branch at depth 1; one that the remote does not have
// begins at HEAD.
func (r *Repository) fetchBranch(ctx context.Context, branch string) (Hash, error) {
	ref := "refs/heads/" + branch
	res, err := r.c.resolve(ctx, Reference{Branch: branch}, ResolveOptions{})
	if errors.Is(err, ErrRefNotFound) || errors.Is(err, ErrEmptyRepository) {
		return r.head, nil
	}
	if err != nil {
		return Hash{}, err
	}
	if res.Commit.Format() != r.format {
		return Hash{}, ErrMismatch
	}
	err = r.c.withPack(ctx, res, CheckoutOptions{}, 1, func(s *snapshot) error {
		for _, id := range s.from.shallow {
			if _, ok := s.from.pack.Find(id); ok {
				if _, _, err := r.store.Get(ctx, id); err != nil { // what we have deeper stays deeper
					r.shallow[id] = true
				}
			}
		}
		_, err := r.store.AddPack(ctx, s.from.pack.Stream(), driver.PackOptions{Size: s.from.pack.Size()})
		res.Commit = s.commit.Hash
		return err
	})
	if err != nil {
		return Hash{}, err
	}
	r.remote[ref] = res.Commit
	return res.Commit, r.setRef("refs/remotes/origin/"+branch, res.Commit)
}

// moveTo makes the worktree that of a commit.
func (r *Repository) moveTo(ctx context.Context, target Hash, changes []Change) error {
	var tree Hash
	if !target.IsZero() {
		c, err := r.commitOf(ctx, target)
		if err != nil {
			return err
		}
		tree = c.Tree
	}
	want, err := r.flatten(ctx, tree)
	if err != nil {
		return err
	}
	changed := map[string]bool{}
	for _, c := range changes {
		changed[c.Path] = true
	}
	write, err := r.checkTarget(ctx, want, changed)
	if err != nil {
		return err
	}
	for p, s := range r.files {
		if n, ok := want[p]; (!ok || n.id != s.id || n.mode != s.mode || changed[p]) && !s.absent {
			if err := r.removePath(p, s.mode); err != nil {
				return err
			}
		}
	}
	for _, p := range write {
		s, err := r.writePath(ctx, p, want[p])
		if err != nil {
			return fmt.Errorf("write %q: %w", redact.Text(p, 256), err)
		}
		want[p] = s
	}
	r.files, r.head, r.tree = want, target, tree
	r.stamp = time.Now().Add(-raceWindow)
	return r.writeIndex()
}

// checkTarget lists the paths to write. Everything that can be wrong with them
// is looked at before the first is touched; links that a checkout leaves out
// are left out here.
func (r *Repository) checkTarget(ctx context.Context, want map[string]fileState, changed map[string]bool) (write []string, err error) {
	lim := r.c.opts.Limits.tree().Fill()
	if err := limits.Check("worktree-files", lim.Files, int64(len(want))); err != nil {
		return nil, err
	}
	var total int64
	var refused []string
	for p, n := range want {
		old, ok := r.files[p]
		if ok && old.id == n.id && old.mode == n.mode && !changed[p] {
			want[p] = old
			continue
		}
		if n.absent {
			continue
		}
		if n.mode != object.ModeGitlink {
			b, err := r.blob(ctx, n.id)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", redact.Text(p, 256), err)
			}
			if total += int64(len(b)); n.mode == object.ModeSymlink && (len(b) == 0 || int64(len(b)) > lim.LinkTarget || bytes.IndexByte(b, 0) >= 0) {
				n.absent = true
				want[p] = n
				refused = append(refused, p)
				continue
			}
			if err := limits.Check("worktree-bytes", lim.Bytes, total); err != nil {
				return nil, err
			}
		}
		write = append(write, p)
	}
	slices.Sort(write)
	if slices.Sort(refused); len(refused) > 0 && r.out != nil {
		r.out.Notes = append(r.out.Notes, linkNote(refused))
	}
	return write, nil
}

func (r *Repository) blob(ctx context.Context, id Hash) ([]byte, error) {
	t, b, err := r.store.Get(ctx, id)
	if err == nil && t != driver.Blob {
		err = fmt.Errorf("%s is a %s: %w", id, t, ErrMalformedObject)
	}
	return b, err
}

// flatten lists the paths of a tree.
func (r *Repository) flatten(ctx context.Context, tree Hash) (map[string]fileState, error) {
	out := map[string]fileState{}
	if tree.IsZero() {
		return out, nil
	}
	w, err := worktree.NewWalker(storeSource{ctx, r.store}, tree, nil, r.c.opts.Limits.tree())
	if err != nil {
		return nil, err
	}
	var step worktree.Step
	for {
		more, err := w.Next(&step)
		if err != nil || !more {
			return out, err
		}
		if step.Kind == worktree.File {
			out[step.Path()] = fileState{id: step.Entry.Hash, mode: step.Entry.Mode, absent: !r.sparse.Holds(step.Path())}
		}
	}
}

// removePath removes a file and the directories that it leaves empty.
func (r *Repository) removePath(p string, mode uint32) error {
	err := r.root.Remove(p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) && mode != object.ModeGitlink {
		return fmt.Errorf("remove %q: %w", redact.Text(p, 256), err)
	}
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		if r.root.Remove(d) != nil {
			break // not empty
		}
	}
	return nil //nolint:nilerr // gone already, or a submodule that stays
}

// writePath writes one file, never through a link.
func (r *Repository) writePath(ctx context.Context, p string, s fileState) (fileState, error) {
	if d := path.Dir(p); d != "." {
		if err := r.realDirs(d); err != nil {
			return s, err
		}
	}
	if s.mode == object.ModeGitlink {
		if err := r.root.Mkdir(p, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return s, err
		}
	} else if err := r.writeBlob(ctx, p, s); err != nil {
		return s, err
	}
	info, err := r.root.Lstat(p)
	if s.mode == object.ModeSymlink && errors.Is(err, fs.ErrNotExist) {
		s.absent = true // the system would not have it
		return s, nil
	}
	if err == nil {
		s.note(info)
	}
	return s, err
}

func (r *Repository) writeBlob(ctx context.Context, p string, s fileState) error {
	b, err := r.blob(ctx, s.id)
	if err != nil {
		return err
	}
	if err := r.root.RemoveAll(p); err != nil {
		return err
	}
	if s.mode == object.ModeSymlink {
		err := r.root.Symlink(string(b), p)
		if errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, syscall.EINVAL) {
			return nil // left out, as by a checkout
		}
		return err
	}
	perm := fs.FileMode(0o644)
	if s.mode == object.ModeExec {
		perm = 0o755
	}
	f, err := r.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm) // O_EXCL: never through a link
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader(b))
	return errors.Join(err, f.Close())
}

// realDirs makes the parents directories; a file or link in the way goes.
func (r *Repository) realDirs(dir string) error {
	parts := []string{}
	for d := dir; d != "."; d = path.Dir(d) {
		parts = append(parts, d)
	}
	slices.Reverse(parts)
	for _, d := range parts {
		info, err := r.root.Lstat(d)
		if err == nil && info.IsDir() {
			continue
		}
		if err == nil {
			err = r.root.Remove(d)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := r.root.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	return nil
}
