// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"iter"
	"slices"
)

// Item is one object of a Set.
type Item struct {
	ID      ID
	Version string // API version without group
	UID     string // optional; a deletion refuses an object with another UID
}

// Set is an ordered collection of objects without duplicates. The zero value
// is empty and ready to use. Copies share their items until one is changed
// through Add, so hand on a Set only when you are done adding.
type Set struct {
	items []Item
	index map[ID]int32
}

// NewSet returns a set of the items, in order; a later duplicate replaces the
// version and the UID of the earlier one.
func NewSet(items ...Item) Set {
	s := Set{items: make([]Item, 0, len(items)), index: make(map[ID]int32, len(items))}
	for _, it := range items {
		s.Add(it)
	}
	return s
}

// Add appends it, or replaces version and UID of the item with its ID.
func (s *Set) Add(it Item) {
	if s.index == nil {
		s.index = make(map[ID]int32)
	}
	if i, ok := s.index[it.ID]; ok {
		s.items[i].Version = it.Version
		if it.UID != "" {
			s.items[i].UID = it.UID
		}
		return
	}
	s.index[it.ID] = int32(len(s.items)) //nolint:gosec // a set has at most a million items
	s.items = append(s.items, it)
}

// AddEntry adds a stored entry. Text that is not an ID is kept verbatim and
// reported by [Set.Unparsed]; it is neither acted upon nor dropped.
func (s *Set) AddEntry(id, version string) {
	p, err := Parse(id)
	if err != nil {
		p = ID{Name: id}
	}
	s.Add(Item{ID: p, Version: version})
}

// Len returns the number of items.
func (s Set) Len() int { return len(s.items) }

// Items iterates over the items in order.
func (s Set) Items() iter.Seq[Item] { return slices.Values(s.items) }

// Entries iterates over id and version in stored form, in order.
func (s Set) Entries() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, it := range s.items {
			if !yield(it.ID.String(), it.Version) {
				return
			}
		}
	}
}

// Unparsed returns the entries that are not IDs.
func (s Set) Unparsed() []string {
	var out []string
	for _, it := range s.items {
		if !it.ID.Parsed() {
			out = append(out, it.ID.Name)
		}
	}
	return out
}

// Contains reports whether id is in the set.
func (s Set) Contains(id ID) bool { _, ok := s.index[id]; return ok }

// Item returns the item with id.
func (s Set) Item(id ID) (Item, bool) {
	i, ok := s.index[id]
	if !ok {
		return Item{}, false
	}
	return s.items[i], true
}

// ContainsAll reports whether every item of o is in s.
func (s Set) ContainsAll(o Set) bool {
	for _, it := range o.items {
		if !s.Contains(it.ID) {
			return false
		}
	}
	return true
}

// Union returns the items of s in order, then those only in o. Version and
// UID of o win where both have the item.
func (s Set) Union(o Set) Set {
	out := s.Clone()
	for _, it := range o.items {
		out.Add(it)
	}
	return out
}

// Minus returns the items of s that are not in o, in order.
func (s Set) Minus(o Set) Set {
	out := Set{index: make(map[ID]int32)}
	for _, it := range s.items {
		if !o.Contains(it.ID) {
			out.Add(it)
		}
	}
	return out
}

// Clone returns a copy that shares nothing with s.
func (s Set) Clone() Set {
	out := Set{items: make([]Item, len(s.items), len(s.items)+1), index: make(map[ID]int32, len(s.items))}
	copy(out.items, s.items)
	for i, it := range out.items {
		out.index[it.ID] = int32(i)
	}
	return out
}

// Equal reports whether both sets hold the same ids and versions, in any order.
func (s Set) Equal(o Set) bool {
	if s.Len() != o.Len() {
		return false
	}
	for _, it := range s.items {
		if other, ok := o.Item(it.ID); !ok || other.Version != it.Version {
			return false
		}
	}
	return true
}
