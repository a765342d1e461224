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
// set to the live value otherwise.
func (pl *planner) sendable(e *Entry) *unstructured.Unstructured {
	x := e.x
	if len(x.ignore) == 0 || x.live == nil {
		return x.desired
	}
	max := pl.m.o.Limits.fieldsV1()
	s := &settler{keys: x.live.keys(max)}
	managers := x.live.managers()
	for i := range managers {
		m := &managers[i]
		if m.Operation != opApply || m.Manager == pl.m.o.Owner.FieldManager && m.Subresource == "" {
			continue
		}
		if set, err := m.fields(max); err == nil {
			s.others = append(s.others, set)
		}
	}
	out := &unstructured.Unstructured{Object: cloneMap(x.desired.Object)}
	roots := make([]int32, len(s.others))
	for _, p := range x.ignore {
		if len(p) > 0 {
			s.settle(out.Object, x.live.u.Object, p, nil, roots)
		}
	}
	return out
}

// settler walks the payload and the live object along ignored paths.
type settler struct {
	keys   keyFinder
	others []fieldset.Set
}

// settle handles what p names below payload; at is where that is, nodes are
// the positions in the others' sets, -1 where a set has nothing.
func (s *settler) settle(payload, live any, p pointer, at []string, nodes []int32) {
	switch t := payload.(type) {
	case map[string]any:
		l, _ := live.(map[string]any)
		for k, v := range t {
			if p[0] != "*" && p[0] != k {
				continue
			}
			next := s.descend(nodes, func(set *fieldset.Set, n int32) int32 { return set.Child(n, fieldset.Field, k) })
			lv, exists := l[k]
			if len(p) > 1 {
				s.settle(v, lv, p[1:], append(at, k), next)
				continue
			}
			if exists && same(v, lv) {
				continue
			}
			if !exists || s.owned(next) {
				delete(t, k)
			} else {
				t[k] = clone(lv)
			}
		}
	case []any:
		l, _ := live.([]any)
		s.settleItems(t, l, p, at, nodes)
	}
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

func (s *settler) descend(nodes []int32, child func(*fieldset.Set, int32) int32) []int32 {
	out := make([]int32, len(nodes))
	for i, n := range nodes {
		out[i] = -1
		if n < 0 {
			continue
		}
		if c := child(&s.others[i], n); c != 0 {
			out[i] = c
		}
	}
	return out
}

func (s *settler) owned(nodes []int32) bool {
	for i, n := range nodes {
		if n > 0 && (s.others[i].At(n).Member || s.others[i].HasChildren(n)) {
			return true
		}
	}
	return false
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
