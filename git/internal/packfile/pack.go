// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package packfile reads packs: one pass over the stream that computes every
// id, then random access to the objects from a temporary file.
package packfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/gitops-kit/sdk/git/driver"
)

// The kinds of entry that only packs have.
const (
	kindOfs = 6
	kindRef = 7
)

// external marks a delta whose base is outside the pack.
const external = -2

// entry describes one object. It is 72 bytes, and there is one per object.
type entry struct {
	off   int64 // of the entry's header
	data  int64 // of the compressed bytes
	size  int64 // of the object
	base  int32 // index of the delta base, -1 none, external
	depth int32
	id    driver.Hash
	typ   driver.Type // of the object, 0 while unknown
	kind  uint8       // as in the pack
}

// Pack is a verified pack. The trailer matched before it came to be. Objects
// are read with a [Reader]; a Pack is safe for concurrent use, and a Reader is not.
type Pack struct {
	file    *os.File
	path    string // not empty while the file still has a name
	format  driver.Format
	lim     Limits
	entries []entry
	table   []uint32
	size    int64
	sum     driver.Hash
	deltas  int
	kept    map[uint32][]byte // commits, trees, tags and, while they fit, small blobs
	extern  map[uint32]driver.Hash
	base    Base
	copying *sync.Mutex // guards the position of file
}

// Len is the number of objects.
func (p *Pack) Len() int { return len(p.entries) }

// Deltas is the number of objects stored as a difference.
func (p *Pack) Deltas() int { return p.deltas }

// Size is the length in bytes, trailer included.
func (p *Pack) Size() int64 { return p.size }

// Sum is the trailer.
func (p *Pack) Sum() driver.Hash { return p.sum }

// File is the file that holds the pack from offset 0. It may have no name.
func (p *Pack) File() *os.File { return p.file }

// Externals lists the ids of bases outside the pack.
func (p *Pack) Externals() []driver.Hash {
	seen := map[driver.Hash]bool{}
	var out []driver.Hash
	for _, h := range p.extern {
		if !seen[h] {
			seen[h] = true
			out = append(out, h)
		}
	}
	return out
}

// Close releases the file.
func (p *Pack) Close() error {
	err := p.file.Close()
	if p.path != "" {
		err = errors.Join(err, os.Remove(p.path))
	}
	p.kept = nil
	return err
}

// Find returns the index of an object.
func (p *Pack) Find(id driver.Hash) (int, bool) {
	if len(p.table) == 0 {
		return 0, false
	}
	mask := uint32(len(p.table) - 1)
	for slot := key(id) & mask; ; slot = (slot + 1) & mask {
		i := p.table[slot]
		if i == 0 {
			return 0, false
		}
		if p.entries[i-1].id == id {
			return int(i - 1), true
		}
	}
}

// ID returns the id of an object.
func (p *Pack) ID(i int) driver.Hash { return p.entries[i].id }

// Type returns the type of an object.
func (p *Pack) Type(i int) driver.Type { return p.entries[i].typ }

// ObjectSize returns the size of an object.
func (p *Pack) ObjectSize(i int) int64 { return p.entries[i].size }

// Offset returns where an object's entry begins in the file.
func (p *Pack) Offset(i int) int64 { return p.entries[i].off }

// DataOffset returns where its compressed bytes begin.
func (p *Pack) DataOffset(i int) int64 { return p.entries[i].data }

func key(id driver.Hash) uint32 {
	var b [40]byte
	return binary.LittleEndian.Uint32(id.AppendBytes(b[:0])[4:])
}

// buildTable indexes the ids. An object that is there twice keeps its first place.
func (p *Pack) buildTable() {
	n := 4
	for n < 2*len(p.entries) {
		n *= 2
	}
	p.table = make([]uint32, n)
	mask := uint32(n - 1)
	for i := range p.entries {
		slot := key(p.entries[i].id) & mask
		for p.table[slot] != 0 {
			if p.entries[p.table[slot]-1].id == p.entries[i].id {
				slot = mask + 1
				break
			}
			slot = (slot + 1) & mask
		}
		if slot <= mask {
			p.table[slot] = uint32(i + 1)
		}
	}
}

func malformed(off int64, format string, a ...any) error {
	return fmt.Errorf("offset %d: %s: %w", off, fmt.Sprintf(format, a...), driver.ErrMalformedPack)
}
