// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import "k8s.io/apimachinery/pkg/runtime/schema"

// holders are the namespaces and kinds of objects that are spared. Deleting
// the namespace, or the definition of the kind, would delete them, too.
type holders struct {
	spaces map[string]bool
	kinds  map[schema.GroupKind]bool
}

func (h *holders) add(id ID) {
	if h.spaces == nil {
		h.spaces, h.kinds = map[string]bool{}, map[schema.GroupKind]bool{}
	}
	if id.Namespace != "" {
		h.spaces[id.Namespace] = true
	}
	h.kinds[groupKind(id)] = true
}

// has reports whether the entry holds one of them.
func (h *holders) has(e *DeleteEntry) bool {
	switch {
	case groupKind(e.ID) == schema.GroupKind{Kind: "Namespace"}:
		return h.spaces[e.ID.Name]
	case isDefinition(e.ID) && e.live != nil:
		return h.kinds[schema.GroupKind{Group: nestedString(e.live.Object, "spec", "group"), Kind: nestedString(e.live.Object, "spec", "names", "kind")}]
	}
	return false
}

// spare keeps what holds objects that are spared, that another owner has, or
// that could not be judged, and what such objects depend on.
func (d *deletePlanner) spare() {
	byID := make(map[ID]*DeleteEntry, len(d.p.Entries))
	var spared []*DeleteEntry
	for i := range d.p.Entries {
		e := &d.p.Entries[i]
		byID[e.ID] = e
		if e.live != nil {
			e.depends, _ = parseDependsOn(e.live) // a malformed one names nothing
		}
		if e.ID.Parsed() && d.spared(e) {
			spared = append(spared, e)
		}
	}
	for len(spared) > 0 {
		var h holders
		var next []*DeleteEntry
		keep := func(e *DeleteEntry) {
			if e != nil && e.Decision == DecisionDelete {
				e.skip(WhyInUse, true)
				next = append(next, e)
			}
		}
		for _, e := range spared {
			h.add(e.ID)
			for _, id := range e.depends {
				keep(byID[id])
			}
		}
		for i := range d.p.Entries {
			if e := &d.p.Entries[i]; h.has(e) {
				keep(e)
			}
		}
		spared = next
	}
}

// spared reports whether the entry's object stays and must not be deleted
// together with what contains it.
func (d *deletePlanner) spared(e *DeleteEntry) bool {
	switch {
	case e.Decision == DecisionBlocked:
		return true
	case e.Decision != DecisionSkip:
		return false
	case e.Why == WhyNotOwned || e.Why == WhyReplaced:
		_, labelled := d.m.o.Owner.ownerOf(e.live)
		return labelled
	}
	return e.stays || e.Why == WhyMoved
}
