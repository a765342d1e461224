// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package worktree

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrSparsePath reports a sparse entry that is not a directory of the tree.
var ErrSparsePath = errors.New("sparse path is no directory")

// SparseError names the entry.
type SparseError struct {
	Path string
	Why  string
}

// Error implements error.
func (e *SparseError) Error() string { return fmt.Sprintf("sparse path %q: %s", e.Path, e.Why) }

// Unwrap returns [ErrSparsePath].
func (e *SparseError) Unwrap() error { return ErrSparsePath }

// Reason returns the condition reason.
func (e *SparseError) Reason() string { return "GitOperationFailed" }

// Terminal is false: the directory may come with the next commit.
func (e *SparseError) Terminal() bool { return false }

// Sparse is a set of directories. Nil means everything.
type Sparse struct {
	kids map[string]*Sparse
	all  bool // this directory with everything below
	hit  bool
}

// NewSparse checks and merges entries. No entry at all is nil.
func NewSparse(entries []string) (*Sparse, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	root := &Sparse{}
	for _, e := range entries {
		p := strings.TrimSuffix(e, "/")
		for strings.HasPrefix(p, "./") {
			p = strings.TrimPrefix(p, "./")
		}
		if p == "." {
			return nil, nil
		}
		if why := badSparse(p); why != "" {
			return nil, &SparseError{Path: e, Why: why}
		}
		at := root
		for c := range strings.SplitSeq(p, "/") {
			if at.kids == nil {
				at.kids = map[string]*Sparse{}
			}
			if at.kids[c] == nil {
				at.kids[c] = &Sparse{}
			}
			at = at.kids[c]
		}
		at.all = true
	}
	return root, nil
}

func badSparse(p string) string {
	switch {
	case p == "":
		return "empty"
	case len(p) > 4096:
		return "longer than 4096 bytes"
	case strings.IndexByte(p, 0) >= 0:
		return "holds NUL"
	case strings.HasPrefix(p, "/"):
		return "absolute"
	}
	for c := range strings.SplitSeq(p, "/") {
		if c == "" || c == "." || c == ".." {
			return "not a clean relative path"
		}
	}
	return ""
}

// sub returns the set below a directory, and whether to enter it.
func (s *Sparse) sub(name string) (*Sparse, bool) {
	if s == nil {
		return nil, true
	}
	k, ok := s.kids[name]
	if !ok {
		return nil, false
	}
	k.hit = true
	if k.all && len(k.kids) == 0 {
		return nil, true
	}
	return k, true
}

// files reports whether files directly in this directory belong to the set.
func (s *Sparse) files() bool { return s == nil || s.all }

// other reports whether a directory that is not listed by name is entered.
func (s *Sparse) other() bool { return s == nil || s.all }

// Missing returns the first entry that the walk did not meet.
func (s *Sparse) Missing() error {
	if s == nil {
		return nil
	}
	return s.missing("")
}

func (s *Sparse) missing(prefix string) error {
	names := make([]string, 0, len(s.kids))
	for n := range s.kids {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		k := s.kids[n]
		if !k.hit {
			return &SparseError{Path: k.deepest(prefix + n), Why: "no such directory in the commit"}
		}
		if err := k.missing(prefix + n + "/"); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sparse) deepest(path string) string {
	for !s.all {
		for n, k := range s.kids {
			path, s = path+"/"+n, k
			break
		}
	}
	return path
}

// Holds reports whether a file belongs to the set.
func (s *Sparse) Holds(path string) bool {
	for s != nil && !s.all {
		dir, rest, ok := strings.Cut(path, "/")
		if !ok {
			return false
		}
		k, ok := s.kids[dir]
		if !ok {
			return false
		}
		s, path = k, rest
	}
	return true
}
