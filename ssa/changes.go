// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gitops-kit/sdk/ssa/internal/fieldset"
)

// Operations of a [Change].
const (
	OpAdd     = "add"
	OpRemove  = "remove"
	OpReplace = "replace"
)

// Change is one difference between the live object and the result of an
// apply. Masked values are shown as "***".
type Change struct {
	Op     string `json:"op"`
	Path   string `json:"path"` // RFC 6901
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
	Masked bool   `json:"masked,omitempty"`

	raw func() [2]any // the values behind a mask, for the keyed digest only; no verb prints what a func holds
}

func compareChanges(a, b Change) int {
	return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Op, b.Op))
}

// same reports whether two JSON values are equal; 1 equals 1.0, and null
// equals null.
func same(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case map[string]any:
		bm, ok := b.(map[string]any)
		if !ok || len(a) != len(bm) {
			return false
		}
		for k, v := range a {
			w, ok := bm[k]
			if !ok || !same(v, w) {
				return false
			}
		}
		return true
	case []any:
		bl, ok := b.([]any)
		if !ok || len(a) != len(bl) {
			return false
		}
		for i := range a {
			if !same(a[i], bl[i]) {
				return false
			}
		}
		return true
	case float64:
		if f, ok := b.(float64); ok && f == a {
			return true
		}
	}
	return fieldset.SameScalar(a, b)
}

// differ walks two values and appends their differences, in order of paths.
type differ struct{ out []Change }

func (d *differ) walk(path string, before, after any) {
	if bm, ok := before.(map[string]any); ok {
		if am, ok := after.(map[string]any); ok {
			d.maps(path, bm, am)
			return
		}
	}
	if bl, ok := before.([]any); ok {
		if al, ok := after.([]any); ok {
			d.lists(path, bl, al)
			return
		}
	}
	if !same(before, after) {
		d.out = append(d.out, Change{Op: OpReplace, Path: path, Before: clone(before), After: clone(after)})
	}
}

func (d *differ) maps(path string, before, after map[string]any) {
	keys := slices.Collect(maps.Keys(before))
	for k := range after {
		if _, ok := before[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		p := path + "/" + escapeSegment(k)
		b, had := before[k]
		a, has := after[k]
		switch {
		case !had:
			d.out = append(d.out, Change{Op: OpAdd, Path: p, After: clone(a)})
		case !has:
			d.out = append(d.out, Change{Op: OpRemove, Path: p, Before: clone(b)})
		default:
			d.walk(p, b, a)
		}
	}
}

// lists compares by position; items of lists that are told apart by name are
// aligned first, so that one inserted container is one change.
func (d *differ) lists(path string, before, after []any) {
	pair := alignment(before, after)
	used := make([]bool, len(before))
	for i, v := range after {
		p := path + "/" + strconv.Itoa(i)
		if j := pair(i); j >= 0 {
			used[j] = true
			d.walk(p, before[j], v)
			continue
		}
		d.out = append(d.out, Change{Op: OpAdd, Path: p, After: clone(v)})
	}
	for j, v := range before {
		if !used[j] {
			d.out = append(d.out, Change{Op: OpRemove, Path: path + "/" + strconv.Itoa(j), Before: clone(v)})
		}
	}
	if moved(pair, len(after)) && len(before) == len(after) {
		d.out = append(d.out, Change{Op: OpReplace, Path: path, Before: clone(before), After: clone(after)})
	}
}

// alignment maps positions of after to positions of before; -1: no partner.
func alignment(before, after []any) func(int) int {
	names, ok := named(before)
	if _, ok2 := named(after); !ok || !ok2 {
		return func(i int) int {
			if i < len(before) {
				return i
			}
			return -1
		}
	}
	return func(i int) int {
		m, _ := after[i].(map[string]any)
		n, _ := m["name"].(string)
		if j, ok := names[n]; ok {
			return j
		}
		return -1
	}
}

// named indexes a list whose items all have distinct names.
func named(list []any) (map[string]int, bool) {
	out := make(map[string]int, len(list))
	for i, v := range list {
		m, _ := v.(map[string]any)
		n, ok := m["name"].(string)
		if _, dup := out[n]; !ok || dup {
			return nil, false
		}
		out[n] = i
	}
	return out, true
}

// moved reports whether partners are in another order.
func moved(pair func(int) int, n int) bool {
	last := -1
	for i := range n {
		j := pair(i)
		if j < 0 {
			continue
		}
		if j < last {
			return true
		}
		last = j
	}
	return false
}

// writersOf names, for each change, the other manager that owns the field.
func writersOf(l *liveObject, changes []Change, fieldManager string, max int64) map[string]string {
	if l == nil || len(changes) == 0 {
		return nil
	}
	out := map[string]string{}
	managers := l.managers()
	for i := range managers {
		m := &managers[i]
		if m.Manager == fieldManager && m.Operation == opApply {
			continue
		}
		set, err := m.fields(max)
		if err != nil {
			continue
		}
		for _, c := range changes {
			p, err := parsePointer(c.Path)
			if err == nil && ownsPath(&set, l.u.Object, p) {
				out[c.Path] = m.Manager
			}
		}
	}
	return out
}

// ownsPath reports whether the set holds the path or something below it.
func ownsPath(s *fieldset.Set, v any, p pointer) bool {
	node := fieldset.Root
	for _, seg := range p {
		switch t := v.(type) {
		case map[string]any:
			node, v = s.Child(node, fieldset.Field, seg), t[seg]
		case []any:
			i, err := strconv.Atoi(seg)
			if err != nil || i >= len(t) {
				return false
			}
			node, v = itemNode(s, node, t[i], i), t[i]
		default:
			return false
		}
		if node == 0 {
			return false
		}
	}
	return node != 0 && (s.At(node).Member || s.HasChildren(node))
}
