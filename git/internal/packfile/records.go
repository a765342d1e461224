// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/gitops-kit/sdk/git/driver"
)

// chunkLen is how many records are made room for at once: records do not move,
// and nothing is thrown away when a pack has more objects than were expected.
const chunkLen = 1024

// chunk holds the records of some objects, field by field: 25 bytes each, the
// id, and six bytes of the table that finds them by it.
type chunk struct {
	recs []record
	ids  []byte        // of a delta whose base is named by id: that of the base, until it is resolved
	typs []driver.Type // of the object, 0 while unknown
	locs []uint32      // where a copy is, see shelf
}

// record is what the scan of a pack learns of an object.
type record struct {
	place uint64 // offset of the entry, shifted; length of its header; kind as in the pack
	size  uint32 // of the object; huge: see Pack.huge
	base  int32  // index of the delta base, -1 none, external
}

const (
	kindBits   = 3
	headBits   = 6 // a header is at most 11 bytes, and an id or a distance
	placeShift = kindBits + headBits
	maxOffset  = 1<<(64-placeShift) - 1
	huge       = math.MaxUint32
)

func (r *record) off() int64  { return int64(r.place >> placeShift) } //nolint:gosec // 55 bits
func (r *record) kind() uint8 { return uint8(r.place & (1<<kindBits - 1)) }
func (r *record) data() int64 { return r.off() + int64(r.place>>kindBits&(1<<headBits-1)) } //nolint:gosec // 6 bits
func (r *record) delta() bool { return r.kind() >= kindOfs }

// entry is what goes into a record.
type entry struct {
	off, data, size int64
	base            int32
	typ             driver.Type
	kind            uint8
}

// add appends the record of an object and returns its index.
func (p *Pack) add(e entry, expected int) int {
	i := p.n
	if i%chunkLen == 0 {
		n := min(max(expected-i, 1), chunkLen)
		p.chunks = append(p.chunks, &chunk{
			recs: make([]record, n), ids: make([]byte, n*p.format.Size()), typs: make([]driver.Type, n), locs: make([]uint32, n),
		})
	}
	c := p.chunks[i/chunkLen]
	if i%chunkLen == len(c.recs) { // more than expected, in a thin pack that is completed
		c.recs, c.ids = append(c.recs, record{}), append(c.ids, make([]byte, p.format.Size())...)
		c.typs, c.locs = append(c.typs, 0), append(c.locs, 0)
	}
	r := record{place: uint64(e.off)<<placeShift | uint64(e.data-e.off)<<kindBits | uint64(e.kind), size: huge, base: e.base} //nolint:gosec // bounded by the scan
	if e.size < huge {
		r.size = uint32(e.size)
	} else {
		if p.huge == nil {
			p.huge = map[int]int64{}
		}
		p.huge[i] = e.size
	}
	c.recs[i%chunkLen], c.typs[i%chunkLen] = r, e.typ
	p.n++
	return i
}

func (p *Pack) rec(i int) *record { return &p.chunks[i/chunkLen].recs[i%chunkLen] }

func (p *Pack) id(i int) []byte {
	size := p.format.Size()
	at := i % chunkLen * size
	return p.chunks[i/chunkLen].ids[at : at+size : at+size]
}

func (p *Pack) setID(i int, id driver.Hash) { id.AppendBytes(p.id(i)[:0]) }

func (p *Pack) setType(i int, t driver.Type) { p.chunks[i/chunkLen].typs[i%chunkLen] = t }

func (p *Pack) loc(i int) uint32 { return p.chunks[i/chunkLen].locs[i%chunkLen] }

func (p *Pack) setLoc(i int, loc uint32) { p.chunks[i/chunkLen].locs[i%chunkLen] = loc }

// ID returns the id of an object.
func (p *Pack) ID(i int) driver.Hash {
	h, _ := driver.NewHash(p.id(i))
	return h
}

// Type returns the type of an object.
func (p *Pack) Type(i int) driver.Type { return p.chunks[i/chunkLen].typs[i%chunkLen] }

// ObjectSize returns the size of an object.
func (p *Pack) ObjectSize(i int) int64 {
	if s := p.rec(i).size; s != huge {
		return int64(s)
	}
	return p.huge[i]
}

// at finds the entry that begins at an offset.
func (p *Pack) at(off int64) (int, bool) {
	lo, hi := 0, p.n
	for lo < hi {
		if mid := (lo + hi) / 2; p.rec(mid).off() < off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < p.n && p.rec(lo).off() == off
}

// table finds objects by a part of their id: open addressing, two slots in
// three taken. A slot is an index plus one.
type table []uint32

func newTable(n int) table { return make(table, n+n/2+1) }

// slot is where the search for an id begins.
func (t table) slot(id []byte) int {
	return int(uint64(binary.LittleEndian.Uint32(id[4:])) * uint64(len(t)) >> 32) //nolint:gosec // less than the length
}

func (t table) next(slot int) int {
	if slot++; slot < len(t) {
		return slot
	}
	return 0
}

// buildTable indexes the ids. An object that is there twice keeps its first place.
func (p *Pack) buildTable() {
	p.table = newTable(p.n)
	for i := range p.n {
		id := p.id(i)
		slot := p.table.slot(id)
		for p.table[slot] != 0 && !bytes.Equal(p.id(int(p.table[slot]-1)), id) {
			slot = p.table.next(slot)
		}
		if p.table[slot] == 0 {
			p.table[slot] = uint32(i + 1) //nolint:gosec // bounded by the limit on objects
		}
	}
}

// Find returns the index of an object.
func (p *Pack) Find(id driver.Hash) (int, bool) {
	if p.n == 0 || id.Format() != p.format {
		return 0, false
	}
	var key [32]byte
	raw := id.AppendBytes(key[:0])
	for slot := p.table.slot(raw); ; slot = p.table.next(slot) {
		i := p.table[slot]
		if i == 0 {
			return 0, false
		}
		if bytes.Equal(p.id(int(i-1)), raw) {
			return int(i - 1), true
		}
	}
}
