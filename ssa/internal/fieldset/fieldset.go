// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fieldset reads the fieldsV1 form of managedFields into a flat array
// of nodes, without maps, and answers what a comparison with an object needs.
//
// It reads what API servers write. Anything else the original library would
// tolerate (element types from the future, repeated keys, null for an object)
// is an error here, so that a caller can fall back on asking the server.
package fieldset

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Kind is the type of a path element.
type Kind uint8

// The types of path elements.
const (
	Field Kind = iota + 1 // f:name
	Key                   // k:{"name":"x"}
	Value                 // v:"x"
	Index                 // i:0
)

// ErrMalformed is wrapped by every error of this package.
var ErrMalformed = errors.New("malformed fieldsV1")

const maxDepth = 256

// Node is one path element.
type Node struct {
	Name        string // field name, or the JSON of the key, value or index
	Kind        Kind
	Member      bool // the set holds the path itself
	first, next int32
	key         int32 // where the key's fields start in Set.keys
	keyLen      int32
}

// Set is a parsed fieldsV1. The zero value is empty.
type Set struct {
	nodes []Node
	keys  []KeyField
}

// KeyOf returns the fields of a Key node.
func (s *Set) KeyOf(i int32) []KeyField {
	n := &s.nodes[i]
	return s.keys[n.key : n.key+n.keyLen]
}

// Root is the index of the node that stands for the whole object.
const Root int32 = 0

// At returns the node with index i.
func (s *Set) At(i int32) *Node { return &s.nodes[i] }

// Empty reports whether the set holds nothing.
func (s *Set) Empty() bool { return len(s.nodes) == 0 || s.nodes[0].first == 0 }

// First returns the index of the first child of node i; 0 when it has none.
func (s *Set) First(i int32) int32 {
	if len(s.nodes) == 0 {
		return 0
	}
	return s.nodes[i].first
}

// Next returns the index of the sibling after node i; 0 after the last.
func (s *Set) Next(i int32) int32 { return s.nodes[i].next }

// HasChildren reports whether the set holds something below node i.
func (s *Set) HasChildren(i int32) bool { return s.First(i) != 0 }

// Child returns the child of node i with the given element; 0 without one.
func (s *Set) Child(i int32, kind Kind, name string) int32 {
	for c := s.First(i); c != 0; c = s.nodes[c].next {
		n := &s.nodes[c]
		if n.Kind == kind && (n.Name == name || kind != Field && SameElement(kind, n.Name, name)) {
			return c
		}
	}
	return 0
}

// Parse reads the JSON bytes of a fieldsV1.
func Parse(b string) (Set, error) {
	p := parser{src: b}
	p.set.nodes = make([]Node, 1, 1+strings.Count(b, ":{"))
	p.space()
	if _, err := p.object(Root, 0); err != nil {
		return Set{}, err
	}
	if p.space(); p.pos != len(p.src) {
		return Set{}, p.bad("trailing data")
	}
	return p.set, nil
}

type parser struct {
	src string
	pos int
	set Set
}

func (p *parser) bad(why string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrMalformed, why, p.pos)
}

func (p *parser) space() {
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) take(c byte) bool {
	if p.pos < len(p.src) && p.src[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

// object reads {…} whose members become children of parent. It reports
// whether the parent itself is a member of the set.
func (p *parser) object(parent int32, depth int) (member bool, err error) {
	if depth > maxDepth {
		return false, p.bad("too deep")
	}
	if !p.take('{') {
		return false, p.bad("not an object")
	}
	if p.space(); p.take('}') {
		return true, nil
	}
	last, top := int32(0), int32(0)
	for {
		p.space()
		key, err := p.text()
		if err != nil {
			return false, err
		}
		if p.space(); !p.take(':') {
			return false, p.bad("no colon")
		}
		p.space()
		if key == "." {
			if member {
				return false, p.bad("repeated member")
			}
			if member = true; !p.take('{') {
				return false, p.bad("not an object")
			}
			if p.space(); !p.take('}') {
				return false, p.bad("not empty")
			}
		} else if last, err = p.child(parent, last, top, key, depth); err != nil {
			return false, err
		} else if top == 0 || p.set.nodes[last].Name > p.set.nodes[top].Name {
			top = last
		}
		if p.space(); p.take(',') {
			continue
		}
		if !p.take('}') {
			return false, p.bad("no end of object")
		}
		return member || p.set.nodes[parent].first == 0, nil
	}
}

func (p *parser) child(parent, last, top int32, key string, depth int) (int32, error) {
	i, err := p.set.add(parent, last, top, key)
	if err != nil {
		return 0, err
	}
	member, err := p.object(i, depth+1)
	if err != nil {
		return 0, err
	}
	p.set.nodes[i].Member = member
	return i, nil
}

// add appends a node. Siblings may come in any order without repetition; the
// check for it is cheap because servers write them sorted. top is the sibling
// with the greatest name so far.
func (s *Set) add(parent, last, top int32, key string) (int32, error) {
	n, err := s.element(key)
	if err != nil {
		return 0, err
	}
	kind, name := n.Kind, n.Name
	sorted := top == 0 || s.nodes[top].Name < name && (kind == Field || kind == Index)
	if !sorted && s.Child(parent, kind, name) != 0 {
		return 0, fmt.Errorf("%w: repeated element %q", ErrMalformed, key)
	}
	i := int32(len(s.nodes)) //nolint:gosec // bounded by the size limit of the text
	s.nodes = append(s.nodes, n)
	if last == 0 {
		s.nodes[parent].first = i
	} else {
		s.nodes[last].next = i
	}
	return i, nil
}

// element reads one path element; a key's fields go to s.keys.
func (s *Set) element(key string) (Node, error) {
	if len(key) < 2 || key[1] != ':' {
		return Node{}, fmt.Errorf("%w: element %q", ErrMalformed, key)
	}
	n := Node{Name: key[2:]}
	switch key[0] {
	case 'f':
		n.Kind = Field
		return n, nil
	case 'k':
		keys, err := appendKey(s.keys, n.Name)
		if err != nil {
			return Node{}, err
		}
		n.Kind, n.key, n.keyLen = Key, int32(len(s.keys)), int32(len(keys)-len(s.keys)) //nolint:gosec // bounded by the text
		s.keys = keys
		return n, nil
	case 'v':
		n.Kind = Value
		_, err := ParseScalar(n.Name)
		return n, err
	case 'i':
		if _, err := strconv.Atoi(n.Name); err != nil {
			return Node{}, fmt.Errorf("%w: index %q", ErrMalformed, key)
		}
		n.Kind = Index
		return n, nil
	}
	return Node{}, fmt.Errorf("%w: element type %q", ErrMalformed, key)
}

// text reads a JSON string. Without escapes the result shares the source.
func (p *parser) text() (string, error) {
	if !p.take('"') {
		return "", p.bad("not a string")
	}
	start := p.pos
	for i := p.pos; i < len(p.src); i++ {
		switch c := p.src[i]; {
		case c == '"':
			p.pos = i + 1
			if s := p.src[start:i]; utf8.ValidString(s) {
				return s, nil
			}
			return "", p.bad("invalid UTF-8")
		case c == '\\':
			return p.escaped(start, i)
		case c < 0x20:
			return "", p.bad("control character")
		}
	}
	return "", p.bad("string without end")
}

func (p *parser) escaped(start, i int) (string, error) {
	out := append(make([]byte, 0, i-start+64), p.src[start:i]...)
	for i < len(p.src) {
		switch c := p.src[i]; {
		case c == '"':
			p.pos = i + 1
			if !utf8.Valid(out) {
				return "", p.bad("invalid UTF-8")
			}
			return string(out), nil
		case c == '\\':
			r, n, ok := unescape(p.src[i:])
			if !ok {
				p.pos = i
				return "", p.bad("escape")
			}
			out = utf8.AppendRune(out, r)
			i += n
		case c < 0x20:
			return "", p.bad("control character")
		default:
			out = append(out, c)
			i++
		}
	}
	return "", p.bad("string without end")
}

// unescape decodes the escape sequence at the start of s.
func unescape(s string) (r rune, n int, ok bool) {
	if len(s) < 2 {
		return 0, 0, false
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2, true
	case 'b':
		return '\b', 2, true
	case 'f':
		return '\f', 2, true
	case 'n':
		return '\n', 2, true
	case 'r':
		return '\r', 2, true
	case 't':
		return '\t', 2, true
	case 'u':
		r, ok = hex4(s[2:])
		if !ok || !utf16.IsSurrogate(r) {
			return r, 6, ok
		}
		if len(s) < 12 || s[6] != '\\' || s[7] != 'u' {
			return 0, 0, false
		}
		low, ok := hex4(s[8:])
		r = utf16.DecodeRune(r, low)
		return r, 12, ok && r != utf8.RuneError
	}
	return 0, 0, false
}

func hex4(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	v, err := strconv.ParseUint(s[:4], 16, 32)
	return rune(v), err == nil
}
