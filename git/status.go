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
	"strings"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/objhash"
	"github.com/gitops-kit/sdk/git/internal/redact"
)

// ChangeKind says how a path differs from HEAD.
type ChangeKind string

// The kinds of change.
const (
	Added       ChangeKind = "added"
	Modified    ChangeKind = "modified"
	Deleted     ChangeKind = "deleted"
	ModeChanged ChangeKind = "mode-changed"
)

// Change is one path that differs from HEAD.
type Change struct {
	Path string
	Kind ChangeKind

	mode uint32
	id   driver.Hash
}

var (
	// ErrNothingToCommit reports a worktree that equals HEAD.
	ErrNothingToCommit = errors.New("nothing to commit")
	// ErrDirty reports a worktree with changes that a switch would lose.
	ErrDirty = errors.New("worktree has changes")
	// ErrSpecialFile reports a socket, FIFO or device in the worktree.
	ErrSpecialFile = errors.New("special file in the worktree")
)

// Status lists what differs from HEAD, by content, sorted by path. Files that
// HEAD does not have count, whatever ignore files say.
func (r *Repository) Status(ctx context.Context) ([]Change, error) {
	out, err := r.status(ctx)
	return out, r.c.wrap(ctx, "status", r.branch, err)
}

func (r *Repository) status(ctx context.Context) ([]Change, error) {
	s := &scan{r: r, ctx: ctx, hasher: objhash.New(r.format), max: limits.Or(r.c.opts.Limits.Files, 200_000), seen: make(map[string]bool, len(r.files))}
	todo := []string{""}
	for len(todo) > 0 {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		subs, err := s.dir(dir)
		if err != nil {
			return nil, err
		}
		todo = append(todo, subs...)
	}
	for p, f := range r.files {
		if !s.seen[p] && !f.absent {
			s.out = append(s.out, Change{Path: p, Kind: Deleted, mode: f.mode, id: f.id})
		}
	}
	slices.SortFunc(s.out, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return s.out, nil
}

// scan is one pass over the worktree.
type scan struct {
	r      *Repository
	ctx    context.Context //nolint:containedctx // one call's state
	hasher *objhash.Hasher
	seen   map[string]bool
	out    []Change
	n, max int64
}

func (s *scan) dir(dir string) (subs []string, err error) {
	f, err := s.r.root.Open(path.Clean("./" + dir))
	if err != nil {
		return nil, fmt.Errorf("directory %q: %w", redact.Text(dir, 256), err)
	}
	entries, err := f.ReadDir(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("directory %q: %w", redact.Text(dir, 256), err)
	}
	for _, e := range entries {
		if e.Name() == ".git" {
			continue
		}
		p := path.Join(dir, e.Name())
		if s.n++; s.n > s.max {
			return nil, &LimitError{Name: "worktree-files", Max: s.max, Got: s.n}
		}
		if e.IsDir() {
			if old, ok := s.r.files[p]; ok && old.mode == object.ModeGitlink {
				s.seen[p] = true // a submodule's place; what is inside is not ours
				continue
			}
			subs = append(subs, p)
			continue
		}
		if err := s.file(p); err != nil {
			return nil, err
		}
	}
	return subs, nil
}

func (s *scan) file(p string) error {
	info, err := s.r.root.Lstat(p)
	if err != nil {
		return fmt.Errorf("%q: %w", redact.Text(p, 256), err)
	}
	mode, err := gitMode(info)
	if err != nil {
		return fmt.Errorf("%q: %w", redact.Text(p, 256), err)
	}
	s.seen[p] = true
	old, known := s.r.files[p]
	if known && old.mode == mode && !old.absent && old.unchanged(info, s.r.stamp) {
		return nil
	}
	id, err := s.id(p, mode, old)
	if err != nil {
		return fmt.Errorf("%q: %w", redact.Text(p, 256), err)
	}
	switch {
	case !known:
		s.out = append(s.out, Change{p, Added, mode, id})
	case old.id != id || old.mode&0o170000 != mode&0o170000:
		s.out = append(s.out, Change{p, Modified, mode, id})
	case old.mode != mode:
		s.out = append(s.out, Change{p, ModeChanged, mode, id})
	default:
		old.absent = false
		old.note(info)
		s.r.files[p] = old
	}
	return nil
}

// unchanged trusts size and time of a file that is old enough.
func (f *fileState) unchanged(i fs.FileInfo, stamp time.Time) bool {
	return !f.mtime.IsZero() && f.mtime.Equal(i.ModTime()) && f.stat.Size == uint32(i.Size()) && i.ModTime().Before(stamp) //nolint:gosec // the format has 32 bits
}

// gitMode is the mode a file has in a tree.
func gitMode(i fs.FileInfo) (uint32, error) {
	switch m := i.Mode(); {
	case m&fs.ModeSymlink != 0:
		return object.ModeSymlink, nil
	case m.IsRegular() && m&0o100 != 0:
		return object.ModeExec, nil
	case m.IsRegular():
		return object.ModeFile, nil
	}
	return 0, ErrSpecialFile
}

// id is the id of a path; a large file has that of its pointer.
func (s *scan) id(p string, mode uint32, old fileState) (driver.Hash, error) {
	if old.large != nil && mode != object.ModeSymlink {
		if same, err := holds(s.r.root, p, old.large); same || err != nil {
			return old.id, err
		}
	}
	return s.hash(p, mode)
}

// hash computes the id that a file would have.
func (s *scan) hash(p string, mode uint32) (driver.Hash, error) {
	if mode == object.ModeSymlink {
		target, err := s.r.root.Readlink(p)
		if err != nil {
			return driver.Hash{}, err
		}
		return objhash.Of(s.r.format, driver.Blob, []byte(target))
	}
	f, err := s.r.root.Open(p)
	if err != nil {
		return driver.Hash{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return driver.Hash{}, err
	}
	if err := limits.Check("git-object", limits.Or(s.r.c.opts.Limits.Object, 256<<20), info.Size()); err != nil {
		return driver.Hash{}, err
	}
	s.hasher.Start(driver.Blob, info.Size())
	n, err := io.Copy(s.hasher, io.LimitReader(f, info.Size()))
	if err == nil && n != info.Size() {
		err = errors.New("file changes while it is read")
	}
	if err != nil {
		return driver.Hash{}, err
	}
	return s.hasher.Sum()
}

// content reads what a path would be as a blob.
func (r *Repository) content(p string, mode uint32) ([]byte, fs.FileInfo, error) {
	info, err := r.root.Lstat(p)
	if err != nil {
		return nil, nil, err
	}
	if mode == object.ModeSymlink {
		target, err := r.root.Readlink(p)
		return []byte(target), info, err
	}
	limit := limits.Or(r.c.opts.Limits.Object, 256<<20)
	if err := limits.Check("git-object", limit, info.Size()); err != nil {
		return nil, nil, err
	}
	f, err := r.root.OpenFile(p, os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	b.Grow(int(info.Size()))
	_, err = b.ReadFrom(io.LimitReader(f, limit))
	return b.Bytes(), info, errors.Join(err, f.Close())
}
