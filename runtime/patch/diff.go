// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"reflect"
	"slices"
	"strings"
)

// change is one leaf of a status that we changed. A nil value removes it.
type change struct {
	path []string
	from any // value in base, nil when absent
	to   any // value wanted, nil when absent
}

func (c change) String() string { return strings.Join(c.path, ".") }

// diff lists the leaves in which want differs from base. Maps are descended
// when both sides have one; everything else, lists included, is a leaf.
func diff(base, want map[string]any, path []string) []change {
	var out []change
	for _, k := range keys(base, want) {
		b, inBase := base[k]
		w, inWant := want[k]
		p := append(slices.Clone(path), k)
		bm, bok := b.(map[string]any)
		wm, wok := w.(map[string]any)
		switch {
		case bok && wok:
			out = append(out, diff(bm, wm, p)...)
		case inBase && inWant && equal(b, w):
		case inWant && !(inBase && b == nil && w == nil):
			out = append(out, change{path: p, from: b, to: w})
		case inBase && !inWant:
			out = append(out, change{path: p, from: b})
		}
	}
	return out
}

// document turns changes into a JSON merge patch.
func document(changes []change) map[string]any {
	doc := map[string]any{}
	for _, c := range changes {
		m := doc
		for _, k := range c.path[:len(c.path)-1] {
			next, ok := m[k].(map[string]any)
			if !ok {
				next = map[string]any{}
				m[k] = next
			}
			m = next
		}
		m[c.path[len(c.path)-1]] = c.to
	}
	return doc
}

// lookup returns the value at path, nil when there is none.
func lookup(m map[string]any, path []string) any {
	var v any = m
	for _, k := range path {
		mm, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = mm[k]
	}
	return v
}

// set stores v at path; nil removes it.
func set(m map[string]any, path []string, v any) {
	for _, k := range path[:len(path)-1] {
		next, ok := m[k].(map[string]any)
		if !ok {
			if v == nil {
				return
			}
			next = map[string]any{}
			m[k] = next
		}
		m = next
	}
	if v == nil {
		delete(m, path[len(path)-1])
		return
	}
	m[path[len(path)-1]] = v
}

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

func keys(a, b map[string]any) []string {
	out := make([]string, 0, len(a)+len(b))
	for k := range a {
		out = append(out, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}
