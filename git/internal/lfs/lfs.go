// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lfs reads LFS pointers and the attributes that mark them.
package lfs

import (
	"bytes"
	"errors"
	"path"
	"strconv"
	"strings"
)

// MaxPointer bounds a pointer file in bytes.
const MaxPointer = 1024

// Pointer names a large file.
type Pointer struct {
	OID  string // SHA-256 in lower-case hexadecimal
	Size int64
}

// ParsePointer reads a pointer; ok is false for anything else.
func ParsePointer(b []byte) (p Pointer, ok bool) {
	if len(b) > MaxPointer || len(b) == 0 || b[len(b)-1] != '\n' {
		return p, false
	}
	prev := ""
	for i, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		key, value, found := strings.Cut(line, " ")
		if !found {
			return p, false
		}
		if i == 0 {
			if key != "version" || value != "https://git-lfs.github.com/spec/v1" {
				return p, false
			}
			continue
		}
		if key <= prev {
			return p, false
		}
		prev = key
		switch key {
		case "oid":
			hex, ok := strings.CutPrefix(value, "sha256:")
			if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
				return p, false
			}
			p.OID = hex
		case "size":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 || strconv.FormatInt(n, 10) != value {
				return p, false
			}
			p.Size = n
		}
	}
	return p, p.OID != "" && bytes.Contains(b, []byte("\nsize "))
}

// ErrTooMany reports more patterns than are read.
var ErrTooMany = errors.New("too many attribute patterns")

const maxPatterns = 10_000

// rule is one line that says something about the filter.
type rule struct {
	pattern []string // components, nil for a base name pattern
	base    string
	value   string // "lfs", "" for unset
}

// Attributes are the lines of one .gitattributes file.
type Attributes struct{ rules []rule }

// ParseAttributes keeps what concerns the attribute filter. n counts the
// patterns over all files.
func ParseAttributes(b []byte, n *int) (*Attributes, error) {
	a := &Attributes{}
	for line := range strings.SplitSeq(string(b), "\n") {
		line = strings.TrimLeft(strings.TrimRight(line, "\r"), " \t")
		if line == "" || line[0] == '#' || strings.HasPrefix(line, "[attr]") {
			continue
		}
		if *n++; *n > maxPatterns {
			return nil, ErrTooMany
		}
		pat, rest := cutPattern(line)
		if pat == "" || pat[0] == '!' || strings.HasSuffix(pat, "/") {
			continue
		}
		value, found := filter(rest)
		if !found {
			continue
		}
		r := rule{value: value}
		if strings.Contains(pat, "/") {
			r.pattern = strings.Split(strings.TrimPrefix(pat, "/"), "/")
		} else {
			r.base = pat
		}
		a.rules = append(a.rules, r)
	}
	return a, nil
}

func cutPattern(line string) (pat, rest string) {
	if line[0] == '"' {
		for i := 1; i < len(line); i++ {
			if line[i] == '\\' {
				i++
			} else if line[i] == '"' {
				p, err := strconv.Unquote(line[:i+1])
				if err != nil {
					return "", ""
				}
				return p, line[i+1:]
			}
		}
		return "", ""
	}
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return line, ""
	}
	return line[:i], line[i:]
}

// filter finds the last word about the filter.
func filter(words string) (value string, found bool) {
	for w := range strings.FieldsSeq(words) {
		switch {
		case strings.HasPrefix(w, "filter="):
			value, found = strings.TrimPrefix(w, "filter="), true
		case w == "filter" || w == "-filter" || w == "!filter":
			value, found = "", true
		}
	}
	return value, found
}

// Match returns the value of the filter for a path relative to the file's
// directory; found is false when no line speaks of it.
func (a *Attributes) Match(name string) (value string, found bool) {
	for i := len(a.rules) - 1; i >= 0; i-- {
		r := &a.rules[i]
		if r.pattern == nil {
			if glob(r.base, path.Base(name)) {
				return r.value, true
			}
		} else if components(r.pattern, strings.Split(name, "/")) {
			return r.value, true
		}
	}
	return "", false
}

func glob(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// components matches with ** standing for any number of directories, in time
// proportional to the product of the lengths.
func components(pat, name []string) bool {
	reach := make([]bool, len(name)+1)
	reach[0] = true
	for n, p := range pat {
		next := make([]bool, len(name)+1)
		if p == "**" {
			on := false
			for i := range reach {
				on = on || reach[i]
				next[i] = on
			}
			if n == len(pat)-1 { // "a/**" needs something below
				for i := range next {
					next[i] = i > 0 && anyBefore(reach, i)
				}
			}
		} else {
			for i := range name {
				next[i+1] = reach[i] && glob(p, name[i])
			}
		}
		reach = next
	}
	return reach[len(name)]
}

func anyBefore(reach []bool, i int) bool {
	for _, r := range reach[:i] {
		if r {
			return true
		}
	}
	return false
}
