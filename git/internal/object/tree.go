// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package object

import (
	"bytes"

	"github.com/gitops-kit/sdk/git/driver"
)

// The modes a tree entry may have.
const (
	ModeTree    = 0o040000
	ModeFile    = 0o100644
	ModeExec    = 0o100755
	ModeSymlink = 0o120000
	ModeGitlink = 0o160000
)

// Entry is one entry of a tree. Name points into the tree's bytes.
type Entry struct {
	Name []byte
	Mode uint32
	Hash driver.Hash
}

// IsTree reports whether the entry is a directory.
func (e Entry) IsTree() bool { return e.Mode == ModeTree }

// Iter walks the entries of a tree in order and checks them on the way.
type Iter struct {
	rest   []byte
	format driver.Format
	prev   Entry
	err    error
	seen   map[string]struct{} // non-tree names that a later tree could repeat
}

// NewIter returns an iterator over a raw tree.
func NewIter(f driver.Format, raw []byte) *Iter { return &Iter{rest: raw, format: f} }

// Err is what ended the walk early.
func (it *Iter) Err() error { return it.err }

// Next returns the next entry; false at the end or on an error.
func (it *Iter) Next(e *Entry) bool {
	if len(it.rest) == 0 || it.err != nil {
		return false
	}
	mode, i := uint32(0), 0
	for ; i < len(it.rest) && it.rest[i] != ' '; i++ {
		c := it.rest[i]
		if c < '0' || c > '7' || i >= 7 {
			return it.fail("bad mode")
		}
		mode = mode<<3 | uint32(c-'0')
	}
	if i == 0 || i >= len(it.rest) {
		return it.fail("cut off in a mode")
	}
	name := it.rest[i+1:]
	end := bytes.IndexByte(name, 0)
	size := it.format.Size()
	if end < 0 || len(name) < end+1+size {
		return it.fail("cut off in an entry")
	}
	h, err := driver.NewHash(name[end+1 : end+1+size])
	if err != nil {
		return it.fail("bad id")
	}
	it.rest = name[end+1+size:]
	name = name[:end]
	if len(name) == 0 || bytes.IndexByte(name, '/') >= 0 {
		return it.fail("empty name or slash in a name")
	}
	if mode == 0o100664 { // written by very old versions
		mode = ModeFile
	}
	switch mode {
	case ModeTree, ModeFile, ModeExec, ModeSymlink, ModeGitlink:
	default:
		return it.fail("unknown mode")
	}
	*e = Entry{Name: name, Mode: mode, Hash: h}
	if !it.ordered(*e) {
		return false
	}
	it.prev = *e
	return true
}

// ordered checks Git's order: bytewise, a directory as if it ended in "/".
// A file "a" and a directory "a" may have other names between them, so names
// that prefix their successor are remembered.
func (it *Iter) ordered(e Entry) bool {
	if it.prev.Name == nil {
		return true
	}
	if bytes.Equal(it.prev.Name, e.Name) {
		return it.fail("duplicate entry")
	}
	if compareNames(it.prev.Name, it.prev.IsTree(), e.Name, e.IsTree()) >= 0 {
		return it.fail("entries out of order")
	}
	if !it.prev.IsTree() && len(e.Name) > len(it.prev.Name) && bytes.HasPrefix(e.Name, it.prev.Name) && e.Name[len(it.prev.Name)] < '/' {
		if it.seen == nil {
			it.seen = map[string]struct{}{}
		}
		it.seen[string(it.prev.Name)] = struct{}{}
	}
	if e.IsTree() && it.seen != nil {
		if _, dup := it.seen[string(e.Name)]; dup {
			return it.fail("duplicate entry")
		}
	}
	return true
}

func compareNames(a []byte, aTree bool, b []byte, bTree bool) int {
	n := min(len(a), len(b))
	if c := bytes.Compare(a[:n], b[:n]); c != 0 {
		return c
	}
	return int(at(a, n, aTree)) - int(at(b, n, bTree))
}

func at(s []byte, i int, tree bool) byte {
	if i < len(s) {
		return s[i]
	}
	if tree {
		return '/'
	}
	return 0
}

func (it *Iter) fail(why string) bool {
	it.err = bad("tree", "%s", why)
	return false
}

// Less orders two names as trees do.
func Less(a string, aTree bool, b string, bTree bool) bool {
	return compareNames([]byte(a), aTree, []byte(b), bTree) < 0
}
