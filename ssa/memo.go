// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"math"
	"slices"
	"sync"
)

// digest is a 128-bit digest of a JSON value.
type digest [16]byte

// defaultMemo is how many objects a Memo remembers.
const defaultMemo = 200_000

// Memo remembers, in memory only, which objects the server found unchanged,
// for those that managedFields alone cannot prove. It forgets the objects
// that were used least recently. Safe for concurrent use; share one between
// all managers of a process.
type Memo struct {
	mu      sync.Mutex
	max     int
	entries map[digest]*list.Element
	order   *list.List // front: used last
}

// MemoOptions configure [NewMemo].
type MemoOptions struct {
	// Entries bounds the objects remembered. ≤ 0: 200,000.
	Entries int
}

// NewMemo returns an empty memo.
func NewMemo(o MemoOptions) *Memo {
	if o.Entries <= 0 {
		o.Entries = defaultMemo
	}
	return &Memo{max: o.Entries, entries: map[digest]*list.Element{}, order: list.New()}
}

type memoItem struct{ key, value digest }

// Len returns the number of objects remembered.
func (m *Memo) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}

func (m *Memo) knows(key, value digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	if !ok {
		return false
	}
	if item, _ := e.Value.(memoItem); item.value != value {
		return false
	}
	m.order.MoveToFront(e)
	return true
}

func (m *Memo) store(key, value digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.entries[key]; ok {
		e.Value = memoItem{key, value}
		m.order.MoveToFront(e)
		return
	}
	for len(m.entries) >= m.max {
		last := m.order.Back()
		item, _ := m.order.Remove(last).(memoItem)
		delete(m.entries, item.key)
	}
	m.entries[key] = m.order.PushFront(memoItem{key, value})
}

// hasher feeds JSON values into a hash without building text.
type hasher struct {
	h   hash.Hash
	buf [9]byte
}

func newHasher() *hasher { return &hasher{h: sha256.New()} }

func (h *hasher) text(kind byte, s string) {
	h.buf[0] = kind
	binary.LittleEndian.PutUint64(h.buf[1:], uint64(len(s)))
	h.h.Write(h.buf[:])
	h.h.Write([]byte(s))
}

func (h *hasher) number(kind byte, n uint64) {
	h.buf[0] = kind
	binary.LittleEndian.PutUint64(h.buf[1:], n)
	h.h.Write(h.buf[:])
}

func (h *hasher) value(v any) {
	switch v := v.(type) {
	case nil:
		h.number('n', 0)
	case bool:
		if v {
			h.number('b', 1)
		} else {
			h.number('b', 0)
		}
	case string:
		h.text('s', v)
	case int64:
		h.number('i', uint64(v)) //nolint:gosec // bits, not a number
	case float64:
		h.number('f', math.Float64bits(v))
	case []any:
		h.number('l', uint64(len(v)))
		for _, e := range v {
			h.value(e)
		}
	case map[string]any:
		h.number('m', uint64(len(v)))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			h.text('k', k)
			h.value(v[k])
		}
	}
}

func (h *hasher) sum() digest {
	var d digest
	copy(d[:], h.h.Sum(nil))
	return d
}

// memoKey identifies the live object, memoValue everything that the server's
// answer depends on: what we send, what is there, and its configuration.
func (pl *planner) memoKey(e *Entry) (digest, bool) {
	uid := e.x.liveUID
	if pl.m.o.Memo == nil || uid == "" {
		return digest{}, false
	}
	if pl.m.o.Live != nil && len(e.x.live.managers()) == 0 {
		return digest{}, false // a cache without managedFields does not know the managers
	}
	h := newHasher()
	h.text('c', pl.p.cluster)
	h.text('u', uid)
	h.text('o', pl.m.o.Owner.FieldManager)
	return h.sum(), true
}

func (pl *planner) memoValue(e *Entry) digest {
	x := e.x
	h := newHasher()
	h.value(x.sent.Object)
	live := maps.Clone(x.live.u.Object)
	if x.r.HasStatus {
		delete(live, "status")
	}
	meta := maps.Clone(nestedMap(live, "metadata"))
	for _, k := range [...]string{"resourceVersion", "generation", "managedFields"} {
		delete(meta, k)
	}
	live["metadata"] = meta
	h.value(live)
	// All managers count, not ours alone: an apply takes a field away only when
	// nobody else owns it.
	for _, m := range x.live.managers() {
		if m.Subresource == "status" && x.r.HasStatus {
			continue
		}
		h.text('M', m.Manager)
		h.text('O', m.Operation)
		h.text('s', m.Subresource)
		h.text('v', m.APIVersion)
		if tree := m.tree(); tree != nil {
			h.value(tree)
		} else {
			h.text('F', m.Fields)
		}
	}
	for _, p := range x.ignore {
		for _, s := range p {
			h.text('p', s)
		}
		h.number('/', 0)
	}
	// What counts as unchanged depends on these two.
	h.value(pl.o.FailOnConflict)
	h.value(pl.o.SyncOwnership)
	token := pl.verify.token(x.r.GVR)
	h.text('S', token.Schema)
	h.text('A', token.Admission)
	h.text('E', engineVersion)
	return h.sum()
}

// remembered looks the entry up; it returns "" after deciding, else why.
func (pl *planner) remembered(e *Entry, why string) string {
	key, ok := pl.memoKey(e)
	if !ok {
		return why
	}
	if !pl.m.o.Memo.knows(key, pl.memoValue(e)) {
		return why
	}
	e.decide(DecisionUnchanged, WhyRemembered)
	return ""
}

// remember notes that the server found the entry unchanged. The live object of
// the entry must be the one that the server looked at: a later or an earlier
// one may have other managers although its values are the same.
func (pl *planner) remember(e *Entry) {
	if key, ok := pl.memoKey(e); ok {
		pl.m.o.Memo.store(key, pl.memoValue(e))
	}
}
