// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package proof decides from an object's managedFields alone whether applying
// a payload would change nothing. It knows no schema: it accepts only what
// holds under every schema that could have produced the recorded fields, and
// gives a reason for the rest.
package proof

import (
	"github.com/gitops-kit/sdk/ssa/internal/fieldset"
)

// Reasons why a payload is not proved.
const (
	Proved    = ""          // it is
	Null      = "Null"      // the payload holds an explicit null
	Owned     = "Owned"     // we own something that is no longer desired
	NotOwned  = "NotOwned"  // we would own something new
	Differs   = "Differs"   // a live value differs
	Shared    = "Shared"    // an atomic value has another owner inside
	Ambiguous = "Ambiguous" // list items cannot be told apart
	Order     = "Order"     // list items are in another order
	Indexed   = "Index"     // a list is owned by position
	Atomic    = "Atomic"    // a value owned as a whole, where the field set counts, too
	TooDeep   = "TooDeep"   // deeper than anything sensible
)

const (
	maxDepth = 256
	maxPairs = 4_000_000 // comparisons of list items with elements of one list
)

// Input is what a proof looks at. Nothing of it is changed.
type Input struct {
	Payload, Live map[string]any
	Own           *fieldset.Set
	// Others returns the parsed sets of all other managers; ok is false when
	// one cannot be read. It is called only when an atomic value is met.
	Others func() (sets []fieldset.Set, ok bool)
	// Quantity reports whether the value below the given parents, innermost
	// last, is a quantity in this kind. nil: never.
	Quantity func(parents []string) bool
	// Exact demands that the recorded field set, too, would stay as it is.
	// Without a schema that is unknown of values owned as a whole.
	Exact bool
}

// Prove returns [Proved] or the first reason against it.
func Prove(in Input) string {
	w := walker{in: in, path: make([]int32, 0, 24), names: make([]string, 0, 24)}
	return w.object()
}

type walker struct {
	in    Input
	path  []int32  // nodes of Own from the root to here, without the root
	names []string // field names on the way, "" for list items
}

// object walks the root, where identity is not part of any field set.
func (w *walker) object() string {
	skipped := 0
	for _, k := range [...]string{"apiVersion", "kind"} {
		if _, ok := w.in.Payload[k]; ok {
			skipped++
		}
	}
	meta, _ := w.in.Payload["metadata"].(map[string]any)
	visited := len(meta)
	for _, k := range [...]string{"name", "namespace"} {
		if _, ok := meta[k]; ok {
			visited--
		}
	}
	if _, ok := w.in.Payload["metadata"]; ok && visited == 0 {
		skipped++
	}
	want := len(w.in.Payload) - skipped
	for c := w.in.Own.First(fieldset.Root); c != 0; c = w.in.Own.Next(c) {
		n := w.in.Own.At(c)
		p, ok := w.in.Payload[n.Name]
		if n.Kind != fieldset.Field || !ok {
			return Owned
		}
		want--
		var why string
		if n.Name == "metadata" {
			why = w.metadata(c, meta, visited)
		} else {
			l, exists := w.in.Live[n.Name]
			why = w.field(c, p, l, exists)
		}
		if why != Proved {
			return why
		}
	}
	if want != 0 {
		return NotOwned
	}
	return Proved
}

func (w *walker) metadata(node int32, meta map[string]any, want int) string {
	live, ok := w.in.Live["metadata"].(map[string]any)
	if !ok {
		return Differs
	}
	w.push(node, "metadata")
	defer w.pop()
	for c := w.in.Own.First(node); c != 0; c = w.in.Own.Next(c) {
		n := w.in.Own.At(c)
		p, ok := meta[n.Name]
		if n.Kind != fieldset.Field || !ok {
			return Owned
		}
		want--
		l, exists := live[n.Name]
		if why := w.field(c, p, l, exists); why != Proved {
			return why
		}
	}
	if want != 0 {
		return NotOwned
	}
	return Proved
}

func (w *walker) push(node int32, name string) {
	w.path = append(w.path, node)
	w.names = append(w.names, name)
}

func (w *walker) pop() {
	w.path = w.path[:len(w.path)-1]
	w.names = w.names[:len(w.names)-1]
}

func (w *walker) field(node int32, p, l any, exists bool) string {
	if len(w.path) > maxDepth {
		return TooDeep
	}
	w.push(node, w.in.Own.At(node).Name)
	defer w.pop()
	return w.value(node, p, l, exists)
}

// value compares one value of the payload, its node and the live value.
func (w *walker) value(node int32, p, l any, exists bool) string {
	own := w.in.Own
	member, below := own.At(node).Member, own.HasChildren(node)
	switch p := p.(type) {
	case nil:
		return Null
	case map[string]any:
		lm, ok := l.(map[string]any)
		switch {
		case !ok:
			return Differs
		case below && len(p) == 0:
			return Owned
		case below && w.in.Exact && member && own.At(node).Kind == fieldset.Field:
			return Owned // an apply records a map that is not empty by its keys alone
		case below:
			return w.fields(node, p, lm)
		case !member:
			return NotOwned
		case len(p) == 0:
			return need(len(lm) == 0)
		}
		return w.atomic(p, l)
	case []any:
		ll, ok := l.([]any)
		switch {
		case !ok:
			return Differs
		case below && len(p) == 0:
			return Owned
		case below && w.in.Exact && member && own.At(node).Kind == fieldset.Field:
			return Owned
		case below:
			return w.list(node, p, ll)
		case !member:
			return NotOwned
		case len(p) == 0:
			return need(len(ll) == 0)
		}
		return w.atomic(p, l)
	}
	switch {
	case below:
		return Owned
	case !member:
		return NotOwned
	case !exists:
		return Differs
	}
	return need(w.scalar(p, l))
}

func need(ok bool) string {
	if ok {
		return Proved
	}
	return Differs
}

func (w *walker) scalar(p, l any) bool {
	if fieldset.SameScalar(p, l) {
		return true
	}
	ps, ok1 := p.(string)
	ls, ok2 := l.(string)
	if !ok1 || !ok2 || w.in.Quantity == nil || !w.in.Quantity(w.names) {
		return false
	}
	return sameQuantity(ps, ls)
}

// fields walks a map whose keys are owned one by one.
func (w *walker) fields(node int32, p, l map[string]any) string {
	want := len(p)
	for c := w.in.Own.First(node); c != 0; c = w.in.Own.Next(c) {
		n := w.in.Own.At(c)
		pv, ok := p[n.Name]
		if n.Kind != fieldset.Field || !ok {
			return Owned
		}
		want--
		lv, exists := l[n.Name]
		if why := w.field(c, pv, lv, exists); why != Proved {
			return why
		}
	}
	if want != 0 {
		return NotOwned
	}
	return Proved
}

// atomic handles a value that is owned as a whole: nobody else may own a part
// of it, because then the schema has changed since.
func (w *walker) atomic(p, l any) string {
	if !w.equal(p, l, 0) {
		return Differs
	}
	if w.in.Exact {
		return Atomic
	}
	if w.in.Others == nil {
		return Proved
	}
	sets, ok := w.in.Others()
	if !ok {
		return Shared
	}
	for i := range sets {
		if w.below(&sets[i]) {
			return Shared
		}
	}
	return Proved
}

// below reports whether o has something below the current path.
func (w *walker) below(o *fieldset.Set) bool {
	at := fieldset.Root
	for _, i := range w.path {
		n := w.in.Own.At(i)
		if at = o.Child(at, n.Kind, n.Name); at == 0 {
			return false
		}
	}
	return o.HasChildren(at)
}

// equal compares values deeply. Inside an atomic value a quantity position
// counts as elsewhere.
func (w *walker) equal(p, l any, depth int) bool {
	if depth > maxDepth {
		return false
	}
	switch p := p.(type) {
	case nil:
		return false
	case map[string]any:
		lm, ok := l.(map[string]any)
		if !ok || len(p) != len(lm) {
			return false
		}
		for k, pv := range p {
			lv, ok := lm[k]
			if !ok {
				return false
			}
			w.names = append(w.names, k)
			same := w.equal(pv, lv, depth+1)
			w.names = w.names[:len(w.names)-1]
			if !same {
				return false
			}
		}
		return true
	case []any:
		ll, ok := l.([]any)
		if !ok || len(p) != len(ll) {
			return false
		}
		for i := range p {
			if !w.equal(p[i], ll[i], depth+1) {
				return false
			}
		}
		return true
	}
	return w.scalar(p, l)
}
