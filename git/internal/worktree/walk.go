// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package worktree walks trees and writes them as files.
package worktree

import (
	"errors"
	"fmt"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/redact"
)

// ErrUnsafePath reports a name that must not become a file name.
var ErrUnsafePath = errors.New("unsafe path")

// Limits bound a worktree.
type Limits struct {
	Files, Bytes, Depth, LinkTarget, TreeDepth int64
}

// Fill replaces zero by the default and negative values by no bound.
func (l Limits) Fill() Limits {
	return Limits{
		Files:      limits.Or(l.Files, 200_000),
		Bytes:      limits.Or(l.Bytes, 2<<30),
		Depth:      limits.Or(l.Depth, 128),
		LinkTarget: limits.Or(l.LinkTarget, 4096),
		TreeDepth:  limits.Or(l.TreeDepth, 1024),
	}
}

// Source gives trees and tells the size of blobs.
type Source interface {
	// Tree returns the raw bytes of a tree.
	Tree(id driver.Hash) ([]byte, error)
	// BlobSize returns the size of a blob.
	BlobSize(id driver.Hash) (int64, error)
}

// Kind is what a step is.
type Kind uint8

// The kinds of step.
const (
	File  Kind = iota // a file, link or gitlink
	Enter             // a directory begins
	Leave             // a directory ends; not sent for the root
)

// Step is one step of a walk.
type Step struct {
	Kind  Kind
	Dir   string // path of the containing directory, "" or ending in a slash
	Entry object.Entry
}

// Path is the whole path.
func (s *Step) Path() string { return s.Dir + string(s.Entry.Name) }

type level struct {
	it     *object.Iter
	dir    string
	sparse *Sparse
	entry  object.Entry
}

// Walker goes through a tree in Git's order, without recursion.
type Walker struct {
	src    Source
	format driver.Format
	lim    Limits
	stack  []level
}

// NewWalker begins at a root tree.
func NewWalker(src Source, root driver.Hash, sparse *Sparse, lim Limits) (*Walker, error) {
	raw, err := src.Tree(root)
	if err != nil {
		return nil, fmt.Errorf("root tree: %w", err)
	}
	w := &Walker{src: src, format: root.Format(), lim: lim.Fill()}
	w.stack = append(w.stack, level{it: object.NewIter(w.format, raw), sparse: sparse})
	return w, nil
}

// Next fills in the next step; false at the end.
func (w *Walker) Next(s *Step) (bool, error) {
	for len(w.stack) > 0 {
		top := &w.stack[len(w.stack)-1]
		var e object.Entry
		if !top.it.Next(&e) {
			if err := top.it.Err(); err != nil {
				return false, fmt.Errorf("directory %q: %w", redact.Text(top.dir, 256), err)
			}
			done := *top
			w.stack = w.stack[:len(w.stack)-1]
			if len(w.stack) == 0 {
				return false, nil
			}
			*s = Step{Kind: Leave, Dir: w.stack[len(w.stack)-1].dir, Entry: done.entry}
			return true, nil
		}
		if Unsafe(string(e.Name)) {
			return false, fmt.Errorf("%q: %w", redact.Text(top.dir+string(e.Name), 256), ErrUnsafePath)
		}
		*s = Step{Kind: File, Dir: top.dir, Entry: e}
		if !e.IsTree() {
			if top.sparse.files() {
				return true, nil
			}
			continue
		}
		entered, err := w.enter(top, e)
		if err != nil {
			return false, err
		}
		if entered {
			s.Kind = Enter
			return true, nil
		}
	}
	return false, nil
}

func (w *Walker) enter(top *level, e object.Entry) (bool, error) {
	sub, ok := top.sparse.sub(string(e.Name))
	if !ok && !top.sparse.other() {
		return false, nil
	}
	if err := limits.Check("git-tree-depth", w.lim.TreeDepth, int64(len(w.stack))); err != nil {
		return false, err
	}
	if err := limits.Check("worktree-depth", w.lim.Depth, int64(len(w.stack))); err != nil {
		return false, err
	}
	path := top.dir + string(e.Name)
	raw, err := w.src.Tree(e.Hash)
	if err != nil {
		return false, fmt.Errorf("directory %q: %w", redact.Text(path, 256), err)
	}
	w.stack = append(w.stack, level{it: object.NewIter(w.format, raw), dir: path + "/", sparse: sub, entry: e})
	return true, nil
}

// Skip leaves the directory that the last step entered.
func (w *Walker) Skip() { w.stack = w.stack[:len(w.stack)-1] }

// Totals is what a check counted.
type Totals struct {
	Files, Dirs, Links, Gitlinks int64
	Bytes                        int64
}

// entries is how many count against the limit of files.
func (t *Totals) entries() int64 { return t.Files + t.Dirs + t.Links + t.Gitlinks }

// Add counts what another tree holds.
func (t *Totals) Add(o Totals) {
	t.Files, t.Dirs, t.Links = t.Files+o.Files, t.Dirs+o.Dirs, t.Links+o.Links
	t.Gitlinks, t.Bytes = t.Gitlinks+o.Gitlinks, t.Bytes+o.Bytes
}

// Check walks everything, enforces the limits and counts, before anything is
// written. used is what other trees have taken of the limits.
func Check(src Source, root driver.Hash, sparse *Sparse, lim Limits, used Totals) (Totals, error) {
	lim = lim.Fill()
	var t Totals
	w, err := NewWalker(src, root, sparse, lim)
	if err != nil {
		return t, err
	}
	var s Step
	for n := int64(1); ; n++ {
		more, err := w.Next(&s)
		if err != nil {
			return t, err
		}
		if !more {
			return t, sparse.Missing()
		}
		switch {
		case s.Kind == Leave:
			n--
			continue
		case s.Kind == Enter:
			t.Dirs++
		case s.Entry.Mode == object.ModeGitlink:
			t.Gitlinks++
		default:
			if s.Entry.Mode == object.ModeSymlink {
				t.Links++
			} else {
				t.Files++
			}
			size, err := src.BlobSize(s.Entry.Hash)
			if err != nil {
				return t, fmt.Errorf("%q: %w", redact.Text(s.Path(), 256), err)
			}
			t.Bytes += size
		}
		if err := limits.Check("worktree-files", lim.Files, used.entries()+n); err != nil {
			return t, err
		}
		if err := limits.Check("worktree-bytes", lim.Bytes, used.Bytes+t.Bytes); err != nil {
			return t, err
		}
	}
}
