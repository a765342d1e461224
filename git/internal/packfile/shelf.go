// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
)

const (
	// keepBudget bounds what is held in memory of objects met on the way.
	// Commits, trees and tags use all of it, blobs the first part.
	keepBudget = 8 << 20
	keepBlobs  = 4 << 20
	keepBlob   = 32 << 10

	slabBits = 18
	slabLen  = 1 << slabBits
	slabsMax = keepBudget / (slabLen / 4)

	// Where a copy is, is a number: slab and place in it, or a place in the
	// file in units of spoolUnit bytes. Zero says that there is none.
	spoolAt   = 1 << 28
	spoolUnit = 16
)

// shelf holds copies of objects that are needed again: in memory, in slabs of
// many, or in a temporary file without a name.
type shelf struct {
	dir string

	mu    sync.Mutex
	slabs [slabsMax][]byte // set once each, read by who put something there or came after
	n     int
	held  int64 // bytes of slabs
	blobs int64 // bytes of blobs in them
	file  *os.File
	path  string // not empty while the file still has a name
	end   int64  // of the file
}

// board is one goroutine's place on a shelf.
type board struct {
	s    *shelf
	slab int // plus one
	used int
}

// room makes room in memory for an object and says where; nil when there is none.
func (b *board) room(t driver.Type, size int64) (room []byte, loc uint32) {
	if size > slabLen || t == driver.Blob && size > keepBlob {
		return nil, 0
	}
	s := b.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if t == driver.Blob && s.blobs+size > keepBlobs {
		return nil, 0
	}
	at, off, n := b.slab, b.used, int(size)
	switch {
	case size > slabLen/4: // one of its own
		if at, off = s.slab(n), 0; at == 0 {
			return nil, 0
		}
	case at == 0 || off+n > slabLen:
		if at, off = s.slab(slabLen), 0; at == 0 {
			return nil, 0
		}
		b.slab, b.used = at, n
	default:
		b.used += n
	}
	if t == driver.Blob {
		s.blobs += size
	}
	return s.slabs[at-1][off : off : off+n], uint32(1 + (at-1)<<slabBits + off) //nolint:gosec // far below
}

// slab makes a slab and returns its number plus one, or 0.
func (s *shelf) slab(size int) int {
	if s.held+int64(size) > keepBudget || s.n == slabsMax {
		return 0
	}
	s.held += int64(size)
	s.slabs[s.n] = make([]byte, size)
	s.n++
	return s.n
}

// get finds the copy at a place: in memory, or as an offset in the file.
func (s *shelf) get(loc uint32, size int64) (b body) {
	if loc >= spoolAt {
		return body{size: size, file: s.file, off: int64(loc-spoolAt) * spoolUnit}
	}
	loc--
	slab, off := s.slabs[loc>>slabBits], int64(loc&(slabLen-1))
	return body{size: size, mem: slab[off : off+size : off+size]}
}

// reserve finds a place in the file. It is not there until it is written.
func (s *shelf) reserve(size int64) (loc uint32, w io.Writer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		if s.file, err = os.CreateTemp(s.dir, "objects-*.tmp"); err != nil {
			return 0, nil, err
		}
		if rerr := os.Remove(s.file.Name()); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			s.path = s.file.Name()
		}
	}
	at := s.end
	if err := limits.Check("git-inflated", (1<<32-spoolAt)*spoolUnit, at+size); err != nil {
		return 0, nil, err
	}
	s.end = (at + size + spoolUnit - 1) &^ (spoolUnit - 1)
	return uint32(spoolAt + at/spoolUnit), io.NewOffsetWriter(s.file, at), nil //nolint:gosec // checked
}

// spool puts an object into the file.
func (s *shelf) spool(data []byte) (loc uint32, err error) {
	loc, w, err := s.reserve(int64(len(data)))
	if err == nil {
		_, err = w.Write(data)
	}
	return loc, err
}

func (s *shelf) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if s.path != "" {
		err = errors.Join(err, os.Remove(s.path))
	}
	return err
}

// body is the content of an object, in memory or in a file.
type body struct {
	size int64
	mem  []byte
	file *os.File // nil: mem
	off  int64
}

func (b *body) here() bool { return b.file == nil }

// bases is a cache of objects that deltas refer to; those that were not used
// for longest go first. It is safe for concurrent use.
type bases struct {
	mu    sync.Mutex
	all   map[uint32]*cached
	first cached // of a ring, next is the newest
	held  int64
}

type cached struct {
	at         uint32
	data       []byte
	prev, next *cached
}

const (
	// cacheBudget bounds the bases that the readers of a pack hold together.
	cacheBudget = 4 << 20
	// largeObject is the size above which an object is not held whole: what
	// is a base, or a delta's result, is put into the file.
	largeObject = 1 << 20
	// cachedExtra is about what the cache needs beside an object's bytes.
	cachedExtra = 128
)

func newBases() *bases {
	c := &bases{all: map[uint32]*cached{}}
	c.first.prev, c.first.next = &c.first, &c.first
	return c
}

func (c *bases) get(at uint32) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.all[at]
	if !ok {
		return nil, false
	}
	c.unlink(e)
	c.push(e)
	return e.data, true
}

func (c *bases) put(at uint32, data []byte) {
	if c == nil || len(data) > largeObject {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.all[at]; ok {
		return
	}
	e := &cached{at: at, data: data}
	c.all[at] = e
	c.push(e)
	for c.held += int64(len(data)) + cachedExtra; c.held > cacheBudget; {
		old := c.first.prev
		c.unlink(old)
		delete(c.all, old.at)
		c.held -= int64(len(old.data)) + cachedExtra
	}
}

func (c *bases) push(e *cached) {
	e.prev, e.next = &c.first, c.first.next
	e.prev.next, e.next.prev = e, e
}

func (c *bases) unlink(e *cached) { e.prev.next, e.next.prev = e.next, e.prev }
