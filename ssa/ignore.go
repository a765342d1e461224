// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"strconv"

	"github.com/gitops-kit/sdk/ssa/internal/fieldset"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// sendable returns the payload after ignore rules: an ignored field that
// differs from live is left out when another Apply manager owns it, and is
// set to the live value otherwise. One that left the set while it is ours
// stays in the payload, with its live value: without it the server would take
// it away, or back to its default.
func (pl *planner) sendable(e *Entry) *unstructured.Unstructured {
	x := e.x
	if len(x.ignore) == 0 || x.live == nil {
		return x.desired
	}
	max := pl.m.o.Limits.fieldsV1()
	s := &settler{keys: x.live.keys(max)}
	managers := x.live.managers()
	ours := own(managers, pl.m.o.Owner.FieldManager)
	for i := range managers {
		m := &managers[i]
		if m.Operation != opApply || m.Manager == pl.m.o.Owner.FieldManager && m.Subresource == "" && i != ours {
			continue
		}
		set, err := m.fields(max)
		switch {
		case err != nil:
		case i == ours:
			s.sets = append([]fieldset.Set{set}, s.sets...)
			s.ours = true
		default:
			s.sets = append(s.sets, set)
		}
	}
	out := &unstructured.Unstructured{Object: cloneMap(x.desired.Object)}
	roots := make([]int32, len(s.sets))
	for _, p := range x.ignore {
		if len(p) > 0 {
			s.settle(out.Object, x.live.u.Object, p, nil, roots)
		}
	}
	return out
}

// settler walks the payload and the live object along ignored paths.
type settler struct {
	keys keyFinder
	sets []fieldset.Set // of the Apply managers
	ours bool           // the first one is ours
}

// settle handles what p names below payload; at is where that is, nodes are
// the positions in the sets, -1 where a set has nothing.
func (s *settler) settle(payload, live any, p pointer, at []string, nodes []int32) {
	switch t := payload.(type) {
	case map[string]any:
		l, _ := live.(map[string]any)
		s.settleFields(t, l, p, at, nodes)
	case []any:
		l, _ := live.([]any)
		s.settleItems(t, l, p, at, nodes)
	}
}

func (s *settler) settleFields(t, l map[string]any, p pointer, at []string, nodes []int32) {
	for k, v := range t {
		if p[0] != "*" && p[0] != k {
			continue
		}
		next := s.field(nodes, k)
		lv, exists := l[k]
		if len(p) > 1 {
			s.settle(v, lv, p[1:], append(at, k), next)
			continue
		}
		if exists && same(v, lv) {
			continue
		}
		switch {
		case exists && isMap(v) && isMap(lv) && s.shared(next): // each field has its own owner
			s.settle(v, lv, pointer{"*"}, append(at, k), next)
		case !exists:
			delete(t, k)
		case !s.owned(next):
			t[k] = clone(lv)
		default:
			delete(t, k)
			if items := s.items(lv, next); len(items) > 0 {
				t[k] = items
			}
		}
	}
	if !s.ours {
		return
	}
	atomic := len(t) > 0 && nodes[0] > 0 && s.sets[0].At(nodes[0]).Member && !s.sets[0].HasChildren(nodes[0])
	for k, lv := range l {
		if _, ok := t[k]; ok || p[0] != "*" && p[0] != k {
			continue
		}
		if kept, ok := s.kept(lv, p[1:], s.field(nodes, k)); ok {
			t[k] = kept
		} else if atomic && len(p) == 1 {
			t[k] = clone(lv) // a map that is owned as a whole
		}
	}
}

// kept returns what a payload that has nothing at a place needs there, so that
// the ignored fields that are ours stay as they are.
func (s *settler) kept(live any, p pointer, nodes []int32) (any, bool) {
	if nodes[0] < 0 {
		return nil, false
	}
	l, isMap := live.(map[string]any)
	switch {
	case isMap && s.sets[0].HasChildren(nodes[0]):
		if len(p) == 0 {
			p = pointer{"*"}
		}
		out := map[string]any{}
		for k, lv := range l {
			if p[0] != "*" && p[0] != k {
				continue
			}
			if v, ok := s.kept(lv, p[1:], s.field(nodes, k)); ok {
				out[k] = v
			}
		}
		return out, len(out) > 0
	case len(p) > 0: // the list, or the value that is owned as a whole, left the set
		return nil, false
	case s.owned(nodes): // the other manager keeps it
		items := s.items(live, nodes)
		return items, len(items) > 0
	}
	return clone(live), true
}

// items returns the live items that are ours of a list whose others belong to
// another Apply manager.
func (s *settler) items(live any, nodes []int32) []any {
	l, ok := live.([]any)
	if !ok || !s.ours || nodes[0] < 0 || !s.shared(nodes) {
		return nil
	}
	var out []any
	for j, v := range l {
		if itemNode(&s.sets[0], nodes[0], v, j) != 0 {
			out = append(out, clone(v))
		}
	}
	return out
}

func (s *settler) settleItems(t, l []any, p pointer, at []string, nodes []int32) {
	keys := s.keys.at(at)
	for i, v := range t {
		if p[0] != "*" && p[0] != strconv.Itoa(i) {
			continue
		}
		j := sibling(l, v, i, keys)
		if j < 0 {
			continue
		}
		if len(p) > 1 {
			next := s.descend(nodes, func(set *fieldset.Set, n int32) int32 { return itemNode(set, n, l[j], j) })
			s.settle(v, l[j], p[1:], at, next)
			continue
		}
		// A whole item is set to the live one: leaving it out of a list
		// would move its neighbours.
		t[i] = clone(l[j])
	}
}

func (s *settler) field(nodes []int32, name string) []int32 {
	return s.descend(nodes, func(set *fieldset.Set, n int32) int32 { return set.Child(n, fieldset.Field, name) })
}

func (s *settler) descend(nodes []int32, child func(*fieldset.Set, int32) int32) []int32 {
	out := make([]int32, len(nodes))
	for i, n := range nodes {
		out[i] = -1
		if n < 0 {
			continue
		}
		if c := child(&s.sets[i], n); c != 0 {
			out[i] = c
		}
	}
	return out
}

// owned reports whether another Apply manager has something there.
func (s *settler) owned(nodes []int32) bool {
	return s.another(nodes, func(set *fieldset.Set, n int32) bool { return set.At(n).Member || set.HasChildren(n) })
}

// shared reports whether another Apply manager has something below it.
func (s *settler) shared(nodes []int32) bool {
	return s.another(nodes, func(set *fieldset.Set, n int32) bool { return set.HasChildren(n) })
}

func (s *settler) another(nodes []int32, is func(set *fieldset.Set, n int32) bool) bool {
	for i, n := range nodes {
		if n > 0 && (i > 0 || !s.ours) && is(&s.sets[i], n) {
			return true
		}
	}
	return false
}

func isMap(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

// itemNode finds the element of a list item in a field set.
func itemNode(set *fieldset.Set, list int32, item any, index int) int32 {
	for c := set.First(list); c != 0; c = set.Next(c) {
		n := set.At(c)
		switch n.Kind {
		case fieldset.Key:
			m, ok := item.(map[string]any)
			fields, err := fieldset.ParseKey(n.Name)
			if !ok || err != nil {
				continue
			}
			all := true
			for _, f := range fields {
				if !fieldset.SameScalar(m[f.Name], f.Value) {
					all = false
				}
			}
			if all {
				return c
			}
		case fieldset.Index:
			if n.Name == strconv.Itoa(index) {
				return c
			}
		case fieldset.Field, fieldset.Value:
		}
	}
	return 0
}
