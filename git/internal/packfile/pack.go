// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package packfile reads packs: one pass over the stream that computes every
// id, then random access to the objects from a temporary file.
package packfile

import (
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

// Pack is a verified pack. The trailer matched before it came to be. Objects
// are read with a [Reader]; a Pack is safe for concurrent use, and a Reader is not.
type Pack struct {
	file     *os.File
	path     string // not empty while the file still has a name
	format   driver.Format
	lim      Limits
	chunks   []*chunk
	n        int // objects
	huge     map[int]int64
	table    table
	size     int64
	sum      driver.Hash
	deltas   int
	thin     int    // deltas whose base is outside the pack
	resolved int64  // bytes that were inflated or put together for deltas
	shelf    *shelf // copies of objects, nil: none
	bases    *bases // a cache
	base     Base
	copying  *sync.Mutex // guards the position of file
}

// Len is the number of objects.
func (p *Pack) Len() int { return p.n }

// Deltas is the number of objects stored as a difference.
func (p *Pack) Deltas() int { return p.deltas }

// Size is the length in bytes, trailer included.
func (p *Pack) Size() int64 { return p.size }

// Sum is the trailer.
func (p *Pack) Sum() driver.Hash { return p.sum }

// File is the file that holds the pack from offset 0. It may have no name.
func (p *Pack) File() *os.File { return p.file }

// Externals lists the ids of bases outside the pack.
func (p *Pack) Externals() ([]driver.Hash, error) {
	if p.thin == 0 {
		return nil, nil
	}
	seen := map[driver.Hash]bool{}
	var out []driver.Hash
	for i := range p.n {
		if p.rec(i).base != external {
			continue
		}
		h, err := p.baseID(i)
		if err != nil {
			return nil, err
		}
		if !seen[h] {
			seen[h] = true
			out = append(out, h)
		}
	}
	return out, nil
}

// baseID reads the id that a delta names its base by, from the end of its header.
func (p *Pack) baseID(i int) (driver.Hash, error) {
	var b [32]byte
	raw := b[:p.format.Size()]
	if _, err := p.file.ReadAt(raw, p.rec(i).data()-int64(len(raw))); err != nil {
		return driver.Hash{}, err
	}
	return driver.NewHash(raw)
}

// Close releases the file.
func (p *Pack) Close() error {
	err := p.file.Close()
	if p.path != "" {
		err = errors.Join(err, os.Remove(p.path))
	}
	if p.shelf != nil {
		err = errors.Join(err, p.shelf.close())
	}
	p.shelf, p.bases = nil, nil
	return err
}

func malformed(off int64, format string, a ...any) error {
	return fmt.Errorf("offset %d: %s: %w", off, fmt.Sprintf(format, a...), driver.ErrMalformedPack)
}
