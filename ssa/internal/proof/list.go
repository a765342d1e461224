// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"github.com/gitops-kit/sdk/ssa/internal/fieldset"
)

// list walks a list whose items are owned one by one.
func (w *walker) list(node int32, p, l []any) string {
	var kind fieldset.Kind
	count := 0
	for c := w.in.Own.First(node); c != 0; c = w.in.Own.Next(c) {
		k := w.in.Own.At(c).Kind
		if kind != 0 && k != kind {
			return Indexed
		}
		kind = k
		count++
	}
	switch {
	case kind == fieldset.Field:
		return Owned // it was a map
	case kind == fieldset.Index:
		return Indexed
	case count > len(p):
		return Owned
	case count < len(p):
		return NotOwned
	case count > maxPairs/(len(l)+1):
		return Ambiguous
	case kind == fieldset.Value:
		return w.set(node, p, l)
	}
	return w.keyed(node, p, l)
}

// set compares a list that is a set of scalars.
func (w *walker) set(node int32, p, l []any) string {
	used := make([]bool, len(p))
	for c := w.in.Own.First(node); c != 0; c = w.in.Own.Next(c) {
		v, err := fieldset.ParseScalar(w.in.Own.At(c).Name)
		if err != nil {
			return Ambiguous
		}
		found := false
		for i := range p {
			if fieldset.SameScalar(p[i], v) {
				if found || used[i] {
					return Ambiguous
				}
				found, used[i] = true, true
			}
		}
		if !found {
			return Owned
		}
	}
	last := -1
	for _, item := range p {
		at := -1
		for i := range l {
			if fieldset.SameScalar(item, l[i]) {
				if at >= 0 {
					return Ambiguous
				}
				at = i
			}
		}
		switch {
		case at < 0:
			return Differs
		case at <= last:
			return Order
		}
		last = at
	}
	return Proved
}

// keyed compares a list of objects that are told apart by key fields. An
// apply owns each item itself, too, besides what is in it.
func (w *walker) keyed(node int32, p, l []any) string {
	var few [32]bool
	taken := few[:]
	if len(p) > len(taken) {
		taken = make([]bool, len(p))
	}
	last := -1
	for _, item := range p {
		pm, ok := item.(map[string]any)
		if !ok {
			return Ambiguous
		}
		e, index, n := int32(0), 0, 0
		for c := w.in.Own.First(node); c != 0; c = w.in.Own.Next(c) {
			if w.fits(pm, c) {
				if e != 0 {
					return Ambiguous
				}
				e, index = c, n
			}
			n++
		}
		switch {
		case e == 0 || !w.in.Own.At(e).Member || !w.in.Own.HasChildren(e):
			return NotOwned
		case taken[index]:
			return Ambiguous
		}
		taken[index] = true
		at, why := liveItem(l, w.in.Own.KeyOf(e))
		if why != Proved {
			return why
		}
		if at <= last {
			return Order
		}
		last = at
		w.push(e, "")
		why = w.value(e, item, l[at], true)
		w.pop()
		if why != Proved {
			return why
		}
	}
	return Proved
}

// fits reports whether item is the one the element names. An item that leaves
// out a key field never does: its value may have come from a default, or from
// somebody who changed it and whose record is gone, and nothing here can tell
// the two apart.
func (w *walker) fits(item map[string]any, e int32) bool {
	for _, f := range w.in.Own.KeyOf(e) {
		if v, ok := item[f.Name]; !ok || !fieldset.SameScalar(v, f.Value) {
			return false
		}
	}
	return true
}

// liveItem finds the only live item that carries all key values explicitly.
func liveItem(l []any, key []fieldset.KeyField) (int, string) {
	at := -1
	for i := range l {
		m, ok := l[i].(map[string]any)
		if !ok {
			return 0, Ambiguous
		}
		same := true
		for _, f := range key {
			v, ok := m[f.Name]
			if !ok || !fieldset.SameScalar(v, f.Value) {
				same = false
				break
			}
		}
		if same {
			if at >= 0 {
				return 0, Ambiguous
			}
			at = i
		}
	}
	if at < 0 {
		return 0, Differs
	}
	return at, Proved
}
