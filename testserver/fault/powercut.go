// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"strings"
)

// CutMode says what a power cut takes besides unsynced content.
type CutMode int

const (
	// LoseEntries also takes directory changes that no sync of the directory
	// followed: the least a file system promises.
	LoseEntries CutMode = iota
	// KeepEntries keeps all directory changes: a rename survives although the
	// content of the file did not.
	KeepEntries
)

// node is a file, directory or link of the model. A renamed file stays the
// same node, so that writes through an open handle find it.
type node struct {
	mode    fs.FileMode
	data    []byte
	synced  []byte
	target  string
	entries map[string]*node // a directory's entries now
	durable map[string]*node // and after a power cut
}

func newDir() *node {
	return &node{mode: fs.ModeDir, entries: map[string]*node{}, durable: map[string]*node{}}
}

func readNode(root *os.Root, name string) (*node, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		d := newDir()
		f, err := root.Open(name)
		if err != nil {
			return nil, err
		}
		list, err := f.ReadDir(-1)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		for _, e := range list {
			n, err := readNode(root, path.Join(name, e.Name()))
			if err != nil {
				return nil, err
			}
			d.entries[e.Name()], d.durable[e.Name()] = n, n
		}
		return d, nil
	case info.Mode()&fs.ModeSymlink != 0:
		t, err := root.Readlink(name)
		return &node{mode: fs.ModeSymlink, target: t}, err
	}
	b, err := root.ReadFile(name)
	return &node{data: b, synced: b}, err
}

// clone copies a tree; nodes that were one stay one.
func (n *node) clone(seen map[*node]*node) *node {
	if n == nil {
		return nil
	}
	if c := seen[n]; c != nil {
		return c
	}
	c := &node{mode: n.mode, data: n.data, synced: n.synced, target: n.target}
	seen[n] = c
	if n.entries != nil {
		c.entries, c.durable = map[string]*node{}, map[string]*node{}
		for k, v := range n.entries {
			c.entries[k] = v.clone(seen)
		}
		for k, v := range n.durable {
			c.durable[k] = v.clone(seen)
		}
	}
	return c
}

// find returns the directory of a path and its last component.
func (n *node) find(name string) (*node, string) {
	name = path.Clean(name)
	dir := n
	parts := strings.Split(name, "/")
	for _, p := range parts[:len(parts)-1] {
		next := dir.entries[p]
		if next == nil || next.entries == nil {
			return newDir(), parts[len(parts)-1] // outside the model: no effect
		}
		dir = next
	}
	return dir, parts[len(parts)-1]
}

func (n *node) get(name string) *node {
	if path.Clean(name) == "." {
		return n
	}
	dir, base := n.find(name)
	return dir.entries[base]
}

// apply does to the model what an operation did.
func (n *node) apply(op Op) {
	dir, base := n.find(op.Name)
	x := n.get(op.Name)
	switch op.Kind {
	case "create":
		dir.entries[base] = &node{}
	case "mkdir":
		dir.entries[base] = newDir()
	case "symlink":
		dir.entries[base] = &node{mode: fs.ModeSymlink, target: op.To}
	case "remove":
		delete(dir.entries, base)
	case "rename", "link":
		to, name := n.find(op.To)
		to.entries[name] = x
		if op.Kind == "rename" && (to != dir || name != base) {
			delete(dir.entries, base)
		}
	case "write":
		if x != nil {
			x.data = splice(x.data, op.off, op.data)
		}
	case "truncate":
		if x != nil {
			x.data = splice(x.data[:min(int64(len(x.data)), op.off)], op.off, nil)
		}
	case "sync":
		if x != nil {
			x.synced = x.data
		}
	case "syncdir":
		if x != nil {
			x.durable = maps.Clone(x.entries)
		}
	}
}

// splice returns a copy of b with d at off.
func splice(b []byte, off int64, d []byte) []byte {
	out := make([]byte, max(int64(len(b)), off+int64(len(d))))
	copy(out, b)
	copy(out[off:], d)
	return out
}

// PowerCut writes into the empty directory dir what would be on the disk had
// the power failed right after the first n operations. n is at most the
// number of operations so far.
func (f *FS) PowerCut(n int, mode CutMode, dir string) error {
	f.mu.Lock()
	state := f.begin.clone(map[*node]*node{})
	ops := f.ops[:min(n, len(f.ops))]
	f.mu.Unlock()
	for _, op := range ops {
		state.apply(op)
	}
	if err := state.write(dir, mode); err != nil {
		return fmt.Errorf("write state after operation %d: %w", n, err)
	}
	return nil
}

func (n *node) write(at string, mode CutMode) error {
	switch {
	case n.entries != nil:
		if err := os.MkdirAll(at, 0o700); err != nil {
			return err
		}
		list := n.durable
		if mode == KeepEntries {
			list = n.entries
		}
		for name, c := range list {
			if err := c.write(path.Join(at, name), mode); err != nil {
				return err
			}
		}
		return nil
	case n.mode&fs.ModeSymlink != 0:
		return os.Symlink(n.target, at)
	}
	return os.WriteFile(at, n.synced, 0o600)
}
