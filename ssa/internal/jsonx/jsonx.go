// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package jsonx decodes what an API server sends into plain maps, several
// times faster than a reflecting decoder: keys are interned, strings share
// one copy per object, and the fieldsV1 of managedFields can be left as text.
package jsonx

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrSyntax is wrapped by every error of this package.
var ErrSyntax = errors.New("malformed JSON")

const maxDepth = 512

// Managed is one element of metadata.managedFields with its fields as text.
type Managed struct {
	Manager, Operation, APIVersion, Time, Subresource, Fields string
}

// Decoder keeps interned keys between objects. The zero value is ready to
// use. Not safe for concurrent use.
type Decoder struct {
	// Strict refuses objects that name a key twice.
	Strict bool

	src  string
	pos  int
	keys map[string]string

	split   bool // move managedFields aside
	managed []Managed
}

// Value decodes one JSON value: maps, slices, strings, bool, int64 for
// integers that fit, float64 for other numbers, nil.
func (d *Decoder) Value(s string) (any, error) {
	d.start(s, false)
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	return v, d.end()
}

// Object decodes a Kubernetes object and takes metadata.managedFields out of
// it, unparsed.
func (d *Decoder) Object(s string) (map[string]any, []Managed, error) {
	d.start(s, true)
	d.space()
	v, err := d.object(0)
	if err != nil {
		return nil, nil, err
	}
	return v, d.managed, d.end()
}

// Page is the head of a list.
type Page struct {
	Continue, ResourceVersion string
	Kind, APIVersion          string
}

// List decodes the head of a list and calls item with the text of each item,
// which is valid after the call, too.
func (d *Decoder) List(b []byte, item func(text string) error) (Page, error) {
	d.start(string(b), false)
	var p Page
	d.space()
	err := d.members(func(key string) error {
		switch key {
		case "items":
			if d.word("null") {
				return nil
			}
			return d.items(func() error {
				from := d.pos
				if err := d.skip(1); err != nil {
					return err
				}
				src, pos, keys := d.src, d.pos, d.keys
				text := clone(src[from:pos])
				err := item(text)
				d.src, d.pos, d.keys, d.split = src, pos, keys, false
				return err
			})
		case "metadata":
			v, err := d.value(1)
			m, _ := v.(map[string]any)
			p.Continue, _ = m["continue"].(string)
			p.ResourceVersion, _ = m["resourceVersion"].(string)
			// copies, because the strings share the text of the whole page
			p.Continue, p.ResourceVersion = clone(p.Continue), clone(p.ResourceVersion)
			return err
		case "kind", "apiVersion":
			v, err := d.value(1)
			s, _ := v.(string)
			if key == "kind" {
				p.Kind = clone(s)
			} else {
				p.APIVersion = clone(s)
			}
			return err
		}
		return d.skip(1)
	})
	if err != nil {
		return p, err
	}
	return p, d.end()
}

func clone(s string) string { return strings.Clone(s) }

func (d *Decoder) start(s string, split bool) {
	if d.keys == nil || len(d.keys) > 4096 {
		d.keys = make(map[string]string, 256)
	}
	d.src, d.pos, d.split, d.managed = s, 0, split, nil
}

func (d *Decoder) end() error {
	if d.space(); d.pos != len(d.src) {
		return d.bad("trailing data")
	}
	return nil
}

func (d *Decoder) bad(why string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrSyntax, why, d.pos)
}

func (d *Decoder) space() {
	for d.pos < len(d.src) {
		switch d.src[d.pos] {
		case ' ', '\n', '\t', '\r':
			d.pos++
		default:
			return
		}
	}
}

func (d *Decoder) take(c byte) bool {
	if d.pos < len(d.src) && d.src[d.pos] == c {
		d.pos++
		return true
	}
	return false
}

func (d *Decoder) word(w string) bool {
	if len(d.src)-d.pos >= len(w) && d.src[d.pos:d.pos+len(w)] == w {
		d.pos += len(w)
		return true
	}
	return false
}

func (d *Decoder) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, d.bad("too deep")
	}
	d.space()
	if d.pos >= len(d.src) {
		return nil, d.bad("no value")
	}
	switch c := d.src[d.pos]; c {
	case '{':
		return d.object(depth)
	case '[':
		out := []any{}
		err := d.items(func() error {
			v, err := d.value(depth + 1)
			out = append(out, v)
			return err
		})
		return out, err
	case '"':
		return d.text()
	case 't':
		if d.word("true") {
			return true, nil
		}
	case 'f':
		if d.word("false") {
			return false, nil
		}
	case 'n':
		if d.word("null") {
			return nil, nil //nolint:nilnil // JSON null is nil
		}
	default:
		return d.number()
	}
	return nil, d.bad("not a value")
}

func (d *Decoder) object(depth int) (map[string]any, error) {
	m := make(map[string]any, 4)
	err := d.members(func(key string) error {
		k, ok := d.keys[key]
		if !ok {
			k = clone(key)
			d.keys[k] = k
		}
		if d.split && depth == 1 && k == "managedFields" {
			return d.managedFields()
		}
		if d.Strict {
			if _, dup := m[k]; dup {
				return d.bad("duplicate key " + strconv.Quote(k))
			}
		}
		v, err := d.value(depth + 1)
		m[k] = v
		return err
	})
	return m, err
}

// managedFields reads the list aside. Depth 1 with this name occurs in other
// places than metadata, too; there it is read all the same, which no caller
// of Object can notice because no API has such a field.
func (d *Decoder) managedFields() error {
	if d.word("null") {
		return nil
	}
	return d.items(func() error {
		var m Managed
		err := d.members(func(key string) error {
			var to *string
			switch key {
			case "manager":
				to = &m.Manager
			case "operation":
				to = &m.Operation
			case "apiVersion":
				to = &m.APIVersion
			case "time":
				to = &m.Time
			case "subresource":
				to = &m.Subresource
			case "fieldsV1":
				from := d.pos
				if err := d.skip(2); err != nil {
					return err
				}
				m.Fields = d.src[from:d.pos]
				return nil
			default:
				return d.skip(2)
			}
			v, err := d.value(2)
			*to, _ = v.(string)
			return err
		})
		d.managed = append(d.managed, m)
		return err
	})
}

// members reads {…}, calling f before each value.
func (d *Decoder) members(f func(key string) error) error {
	if !d.take('{') {
		return d.bad("not an object")
	}
	if d.space(); d.take('}') {
		return nil
	}
	for {
		d.space()
		key, err := d.text()
		if err != nil {
			return err
		}
		if d.space(); !d.take(':') {
			return d.bad("no colon")
		}
		d.space()
		if err := f(key); err != nil {
			return err
		}
		if d.space(); d.take(',') {
			continue
		}
		if d.take('}') {
			return nil
		}
		return d.bad("no end of object")
	}
}

// items reads […], calling f before each value.
func (d *Decoder) items(f func() error) error {
	if !d.take('[') {
		return d.bad("not a list")
	}
	if d.space(); d.take(']') {
		return nil
	}
	for {
		d.space()
		if err := f(); err != nil {
			return err
		}
		if d.space(); d.take(',') {
			continue
		}
		if d.take(']') {
			return nil
		}
		return d.bad("no end of list")
	}
}

// skip passes over one value.
func (d *Decoder) skip(depth int) error {
	if depth > maxDepth {
		return d.bad("too deep")
	}
	d.space()
	if d.pos >= len(d.src) {
		return d.bad("no value")
	}
	switch d.src[d.pos] {
	case '{':
		return d.members(func(string) error { return d.skip(depth + 1) })
	case '[':
		return d.items(func() error { return d.skip(depth + 1) })
	case '"':
		return d.skipText()
	}
	_, err := d.value(depth)
	return err
}

func (d *Decoder) skipText() error {
	for i := d.pos + 1; i < len(d.src); i++ {
		switch d.src[i] {
		case '"':
			d.pos = i + 1
			return nil
		case '\\':
			i++
		}
	}
	return d.bad("string without end")
}

// Skip returns the length of the JSON value at the start of s.
func (d *Decoder) Skip(s string) (int, error) {
	d.start(s, false)
	err := d.skip(0)
	return d.pos, err
}
