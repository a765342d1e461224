// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"strings"

	"github.com/gitops-kit/sdk/untar/internal/names"
)

// clean checks a name and returns it without "./", repeated and trailing
// slashes; "." is the root. A name must be safe also for a reader that takes
// "\" for "/".
func clean(name string, l Limits) (string, error) {
	if limit := l.path(); int64(len(name)) > limit {
		return "", &LimitError{Name: limitPath, Max: limit, Got: int64(len(name))}
	}
	switch {
	case name == "":
		return "", invalid("empty name")
	case name[0] == '/' || name[0] == '\\':
		return "", escapes("absolute name")
	case strings.IndexByte(name, 0) >= 0:
		return "", invalid("NUL in a name")
	}
	return components(name, l)
}

func components(name string, l Limits) (string, error) {
	maxComponent, maxDepth := l.component(), l.depth()
	depth := int64(0)
	untouched := true
	var tooLong int64
	for rest, first := name, true; rest != ""; {
		component, after, more := strings.Cut(rest, "/")
		rest = after
		if component == "" || component == "." {
			untouched = false
			continue
		}
		if more && after == "" {
			untouched = false
		}
		if why := names.Unsafe(component, first); why != "" {
			return "", escapes(why)
		}
		first = false
		depth++
		tooLong = max(tooLong, int64(len(component)))
	}
	if tooLong > maxComponent {
		return "", &LimitError{Name: limitComponent, Max: maxComponent, Got: tooLong}
	}
	if depth > maxDepth {
		return "", &LimitError{Name: limitDepth, Max: maxDepth, Got: depth}
	}
	switch {
	case depth == 0:
		return ".", nil
	case untouched:
		return name, nil
	}
	return rebuild(name), nil
}

func rebuild(name string) string {
	var b strings.Builder
	b.Grow(len(name))
	for rest := name; rest != ""; {
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		if c == "" || c == "." {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('/')
		}
		b.WriteString(c)
	}
	return b.String()
}

// parent is the directory of a cleaned path, "." for the root.
func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return "."
}

// under returns path relative to the prefix; ok is false outside it.
func under(path, prefix string) (rel string, ok bool) {
	if prefix == "" {
		return path, true
	}
	if path == prefix {
		return ".", true
	}
	if len(path) > len(prefix) && path[len(prefix)] == '/' && strings.HasPrefix(path, prefix) {
		return path[len(prefix)+1:], true
	}
	return "", false
}
