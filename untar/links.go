// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"bytes"
	"context"
	"math"
	"strings"

	"github.com/gitops-kit/sdk/untar/internal/names"
)

// checkTarget refuses a target that is empty, absolute or lexically above
// the root, seen from the link's directory, or longer or deeper than a path
// may be.
func checkTarget(e *Entry, l Limits) error {
	if limit := l.path(); int64(len(e.Target)) > limit {
		return &LimitError{Name: limitPath, Max: limit, Got: int64(len(e.Target))}
	}
	_, err := resolve(e.Path, e.Target, l.depth())
	return err
}

// resolve returns the path that a target names, "." for the root.
func resolve(link, target string, maxDepth int64) (string, error) {
	switch {
	case target == "":
		return "", invalid("empty link target")
	case target[0] == '/' || target[0] == '\\':
		return "", escapes("absolute link target")
	case strings.IndexByte(target, 0) >= 0:
		return "", invalid("NUL in a link target")
	case names.Drive(target):
		return "", escapes("drive letter in a link target")
	}
	s := stepsFrom(link)
	for rest := target; rest != ""; {
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		switch {
		case c == "..":
			if len(s.path) == 0 {
				return "", escapes("link target above the root")
			}
		case strings.Contains(c, `\`) && names.Unsafe(c, false) != "":
			return "", escapes("link target above the root")
		}
		if s.step(c); s.depth > maxDepth {
			return "", &LimitError{Name: limitDepth, Max: maxDepth, Got: s.depth}
		}
	}
	if len(s.path) == 0 {
		return ".", nil
	}
	return string(s.path), nil
}

// steps is a path that grows and shrinks by components; empty is the root.
type steps struct {
	path  []byte
	depth int64
}

// stepsFrom begins in the directory of a link.
func stepsFrom(link string) steps {
	dir := parent(link)
	if dir == "." {
		return steps{}
	}
	return steps{path: []byte(dir), depth: int64(strings.Count(dir, "/")) + 1}
}

// step goes one component on; it reports whether that is a way down.
func (s *steps) step(c string) bool {
	switch c {
	case "", ".":
		return false
	case "..":
		if len(s.path) > 0 {
			s.path = s.path[:max(bytes.LastIndexByte(s.path, '/'), 0)]
			s.depth--
		}
		return false
	}
	if len(s.path) > 0 {
		s.path = append(s.path, '/')
	}
	s.path = append(s.path, c...)
	s.depth++
	return true
}

// links are all links of an archive, checked against each other at the end.
type links struct {
	list  []link
	index map[string]int32 // into list, by path
	size  int64            // paths and targets
	limit int64
	hops  int64
	depth int64
}

type link struct {
	path   string
	target string // of its last entry
	kept   string // of its last entry that was kept; "": none was
}

func newLinks(l Limits) *links {
	return &links{index: map[string]int32{}, limit: l.links(), hops: l.hops(), depth: l.depth()}
}

// add notes a link; a later one of the same path replaces it.
func (l *links) add(e *Entry) error {
	i, again := l.index[e.Path]
	if l.size += int64(len(e.Target)); !again {
		l.size += int64(len(e.Path))
	}
	if l.size > l.limit {
		return &LimitError{Name: limitLinks, Max: l.limit, Got: l.size}
	}
	if again {
		l.list[i].target = e.Target
		return nil
	}
	l.index[e.Path] = int32(len(l.list)) //nolint:gosec // fewer than the bytes of a stream have room for
	l.list = append(l.list, link{path: e.Path, target: e.Target})
	return nil
}

// keep notes that the link that was added last is to be made.
func (l *links) keep(e *Entry) { l.list[l.index[e.Path]].kept = e.Target }

// target returns the target of a link.
func (l *links) target(path string) (string, bool) {
	i, ok := l.index[path]
	if !ok {
		return "", false
	}
	return l.list[i].target, true
}

// check refuses a target that leads through another link, and chains longer
// than the limit.
func (l *links) check(ctx context.Context) error {
	for i, k := range l.list {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := l.follow(k.path, k.target)
		if err == nil && k.kept != "" && k.kept != k.target {
			err = l.follow(k.path, k.kept)
		}
		if err != nil {
			return entryError(i, k.path, err)
		}
	}
	return nil
}

func (l *links) follow(at, target string) error {
	for hop := int64(1); ; hop++ {
		if err := l.through(at, target); err != nil {
			return err
		}
		next, err := resolve(at, target, l.depth)
		if err != nil {
			return err
		}
		further, chained := l.target(next)
		if !chained {
			return nil
		}
		if hop >= l.hops {
			return &LimitError{Name: limitHops, Max: l.hops, Got: hop + 1}
		}
		if l.hops == math.MaxInt64 && hop >= int64(len(l.list)) {
			return invalid("links lead in a circle")
		}
		at, target = next, further
	}
}

// through refuses a target one of whose steps, but for the last, is a link:
// what follows it would not be what it looks like.
func (l *links) through(link, target string) error {
	s := stepsFrom(link)
	rest := target
	for rest != "" {
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		if !s.step(c) {
			continue
		}
		if _, isLink := l.index[string(s.path)]; isLink && strings.Trim(rest, "/.") != "" || isLink && strings.Contains(rest, "..") {
			return escapes("link target leads through another link")
		}
	}
	return nil
}
