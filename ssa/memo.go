// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
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
// that were used least recently. An object takes less than 96 bytes. Safe for
// concurrent use; share one between all managers of a process.
type Memo struct {
	mu     sync.Mutex
	max    int
	n      int
	table  []uint32 // places by key: open addressing, 0 is free; a power of two long
	places []*[memoBlock]memoItem
}

// memoItem is one object remembered, in a ring of all that begins behind place
// 0 with the one that was used last.
type memoItem struct {
	key, value digest
	prev, next uint32
}

const memoBlock = 1024

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
	return &Memo{max: min(o.Entries, math.MaxUint32-1), table: make([]uint32, 64), places: []*[memoBlock]memoItem{{}}}
}

// Len returns the number of objects remembered.
func (m *Memo) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n
}

func (m *Memo) knows(key, value digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.table[m.slot(key)]
	if i == 0 || m.place(i).value != value {
		return false
	}
	m.unlink(i)
	m.front(i)
	return true
}

func (m *Memo) store(key, value digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	slot := m.slot(key)
	i := m.table[slot]
	switch {
	case i != 0:
		m.unlink(i)
	case m.n >= m.max: // in the place of the one that was used least recently
		i = m.place(0).prev
		m.unlink(i)
		m.release(m.slot(m.place(i).key))
		slot = m.slot(key)
	default:
		if m.n++; m.n > len(m.table)/4*3 {
			m.grow()
			slot = m.slot(key)
		}
		i = uint32(m.n) //nolint:gosec // bounded by NewMemo
		if int(i/memoBlock) == len(m.places) {
			m.places = append(m.places, new([memoBlock]memoItem))
		}
	}
	p := m.place(i)
	p.key, p.value = key, value
	m.table[slot] = i
	m.front(i)
}

// slot returns where in the table the key is, or belongs.
func (m *Memo) slot(key digest) int {
	at := m.home(key)
	for i := m.table[at]; i != 0 && m.place(i).key != key; i = m.table[at] {
		at = (at + 1) & (len(m.table) - 1)
	}
	return at
}

// home is where a key, which is random itself, belongs in an empty table.
func (m *Memo) home(key digest) int {
	return int(binary.LittleEndian.Uint32(key[:])) & (len(m.table) - 1)
}

// release frees a slot; those behind it that would not be found any more move
// up.
func (m *Memo) release(free int) {
	mask := len(m.table) - 1
	m.table[free] = 0
	for at := (free + 1) & mask; m.table[at] != 0; at = (at + 1) & mask {
		home := m.home(m.place(m.table[at]).key)
		if (at-home)&mask >= (at-free)&mask {
			m.table[free], m.table[at] = m.table[at], 0
			free = at
		}
	}
}

// grow doubles the table.
func (m *Memo) grow() {
	old := m.table
	m.table = make([]uint32, 2*len(old))
	for _, i := range old {
		if i != 0 {
			m.table[m.slot(m.place(i).key)] = i
		}
	}
}

func (m *Memo) place(i uint32) *memoItem { return &m.places[i/memoBlock][i%memoBlock] }

func (m *Memo) unlink(i uint32) {
	p := m.place(i)
	m.place(p.prev).next, m.place(p.next).prev = p.next, p.prev
}

func (m *Memo) front(i uint32) {
	ring, p := m.place(0), m.place(i)
	p.prev, p.next = 0, ring.next
	m.place(ring.next).prev = i
	ring.next = i
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
