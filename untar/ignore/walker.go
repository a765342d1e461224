// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ignore

import "strings"

// Decision is what to do with a directory.
type Decision int

// The decisions.
const (
	// Keep: the directory is not ignored.
	Keep Decision = iota
	// Prune: the directory and everything below it is ignored.
	Prune
	// Descend: the directory is ignored, but something below it may be kept
	// ([Options.ReincludeBelow]).
	Descend
)

// Walker judges the paths of one walk over a tree. Directories are entered
// before their content; each is judged once. It is not safe for concurrent
// use.
type Walker struct {
	m     *Matcher
	stack []level
}

type level struct {
	path  string
	state state
}

// Walker returns a Walker at the root of a tree.
func (m *Matcher) Walker() *Walker { return &Walker{m: m} }

// parent drops the directories that the path is not below and returns the
// state of the innermost that remains, and where the rest of path begins.
func (w *Walker) parent(path string) (state, int) {
	for n := len(w.stack); n > 0; n-- {
		top := &w.stack[n-1]
		if len(path) > len(top.path) && path[len(top.path)] == '/' && strings.HasPrefix(path, top.path) {
			w.stack = w.stack[:n]
			return top.state, len(top.path) + 1
		}
	}
	w.stack = w.stack[:0]
	return state{rule: -1}, 0
}

// locate enters the directories between the innermost known one and path,
// and returns the state of the directory that holds path.
func (w *Walker) locate(path string) (state, int) {
	s, at := w.parent(path)
	for {
		slash := strings.IndexByte(path[at:], '/')
		if slash < 0 {
			return s, at
		}
		dir := path[:at+slash]
		ignored, rule := w.m.judge(s, dir, at, true)
		s = state{ignored: ignored, rule: rule}
		w.stack = append(w.stack, level{path: dir, state: s})
		at += slash + 1
	}
}

// Enter judges the directory at path (full, slash-separated, no trailing
// slash) and makes it the current one for what follows below it.
func (w *Walker) Enter(path string) Decision {
	if w.m == nil || path == "" || path == "." {
		return Keep
	}
	s, at := w.locate(path)
	ignored, rule := w.m.judge(s, path, at, true)
	w.stack = append(w.stack, level{path: path, state: state{ignored: ignored, rule: rule}})
	switch {
	case !ignored:
		return Keep
	case w.m.mayReturn(path, rule):
		return Descend
	}
	return Prune
}

// File reports whether the file at path (full, slash-separated) is kept.
func (w *Walker) File(path string) bool {
	if w.m == nil {
		return true
	}
	s, at := w.locate(path)
	ignored, _ := w.m.judge(s, path, at, false)
	return !ignored
}

// mayReturn reports whether a "!" rule after the deciding one could match
// below the directory.
func (m *Matcher) mayReturn(dir string, rule int32) bool {
	if !m.reinc {
		return false
	}
	for k := len(m.negated) - 1; k >= 0 && m.negated[k] > rule; k-- {
		if m.rules[m.negated[k]].below(dir) {
			return true
		}
	}
	return false
}
