// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"strings"

	"github.com/gitops-kit/sdk/untar/internal/names"
)

// checkTarget refuses a target that is empty, absolute or lexically above
// the root, seen from the link's directory.
func checkTarget(e *Entry) error {
	_, err := resolve(e.Path, e.Target)
	return err
}

// resolve returns the path that a target names, "." for the root.
func resolve(link, target string) (string, error) {
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
	path := parent(link)
	for rest := target; rest != ""; {
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		switch {
		case c == "" || c == ".":
		case c == "..":
			if path == "." {
				return "", escapes("link target above the root")
			}
			path = parent(path)
		case strings.Contains(c, `\`) && names.Unsafe(c, false) != "":
			return "", escapes("link target above the root")
		case path == ".":
			path = c
		default:
			path += "/" + c
		}
	}
	return path, nil
}

// links are all links of an archive, checked against each other at the end.
type links struct {
	order   []string
	targets map[string]string
	hops    int64
}

func newLinks(l Limits) *links { return &links{targets: map[string]string{}, hops: l.hops()} }

// add notes a link; a later one of the same path replaces it.
func (l *links) add(e *Entry) {
	if _, again := l.targets[e.Path]; !again {
		l.order = append(l.order, e.Path)
	}
	l.targets[e.Path] = e.Target
}

// check refuses a target that leads through another link, and chains longer
// than the limit.
func (l *links) check() error {
	for i, path := range l.order {
		if err := l.follow(path); err != nil {
			return entryError(i, path, err)
		}
	}
	return nil
}

func (l *links) follow(at string) error {
	target := l.targets[at]
	for hop := int64(1); ; hop++ {
		if err := l.through(at, target); err != nil {
			return err
		}
		next, err := resolve(at, target)
		if err != nil {
			return err
		}
		further, chained := l.targets[next]
		if !chained {
			return nil
		}
		if hop >= l.hops {
			return &LimitError{Name: limitHops, Max: l.hops, Got: hop + 1}
		}
		at, target = next, further
	}
}

// through refuses a target one of whose steps, but for the last, is a link:
// what follows it would not be what it looks like.
func (l *links) through(link, target string) error {
	path := parent(link)
	rest := target
	for rest != "" {
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		switch {
		case c == "" || c == ".":
			continue
		case c == "..":
			path = parent(path)
			continue
		case path == ".":
			path = c
		default:
			path += "/" + c
		}
		if _, isLink := l.targets[path]; isLink && strings.Trim(rest, "/.") != "" || isLink && strings.Contains(rest, "..") {
			return escapes("link target leads through another link")
		}
	}
	return nil
}
