// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"github.com/gitops-kit/sdk/untar/internal/newfile"
)

const maxOpenDirs = 64 // the root included

// handle is an open directory. While it has users it stays open.
type handle struct {
	root  *os.Root
	place newfile.Dir
	path  string
	users atomic.Int32
	tick  uint64
}

func (h *handle) release() { h.users.Add(-1) }

// dirs opens and makes directories, each relative to its open parent. Only
// the reader of the archive calls it; workers only release handles.
type dirs struct {
	root     *handle
	existing bool
	rep      *Report
	open     map[string]*handle
	made     map[pathKey]struct{}
	seeds    seeds
	idle     func() // waits until no worker has a handle
	tick     uint64
}

func newDirs(root *os.Root, existing bool, rep *Report, idle func()) *dirs {
	return &dirs{
		root: &handle{root: root, path: "."}, existing: existing, rep: rep, idle: idle,
		open: map[string]*handle{}, made: map[pathKey]struct{}{}, seeds: newSeeds(),
	}
}

// close closes a handle without users.
func (h *handle) close() error { return errors.Join(h.place.Close(), h.root.Close()) }

// get returns the directory at path, made if it was not there. The caller
// releases it.
func (d *dirs) get(path string) (*handle, error) {
	if path == "." {
		d.root.users.Add(1)
		return d.root, nil
	}
	if h, ok := d.open[path]; ok {
		d.tick++
		h.tick = d.tick
		h.users.Add(1)
		return h, nil
	}
	return d.enter(path)
}

// enter opens a directory that is not open.
func (d *dirs) enter(path string) (*handle, error) {
	d.tick++
	up, err := d.get(parent(path))
	if err != nil {
		return nil, err
	}
	defer up.release()
	name := base(path)
	key := d.seeds.whole(path)
	if _, ok := d.made[key]; !ok {
		if err := d.mkdir(up.root, name); err != nil {
			return nil, err
		}
		d.made[key] = struct{}{}
		d.rep.Dirs++
	}
	if err := d.evict(); err != nil {
		return nil, err
	}
	root, err := up.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	at, err := newfile.Open(root)
	if err != nil {
		return nil, errors.Join(err, at.Close(), root.Close())
	}
	h := &handle{root: root, place: at, path: path, tick: d.tick}
	h.users.Add(1)
	d.open[path] = h
	return h, nil
}

// mkdir makes a directory. Where writing in place is allowed, a directory
// that is there is used, and anything else in its way is removed.
func (d *dirs) mkdir(up *os.Root, name string) error {
	err := up.Mkdir(name, 0o755)
	if err == nil || !d.existing || !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := up.Lstat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return nil
	}
	if err := up.Remove(name); err != nil {
		return err
	}
	return up.Mkdir(name, 0o755)
}

// evict closes the least recently used directories without users, so that
// there is room for one more. When workers use all of them, it waits.
func (d *dirs) evict() error {
	for waited := false; len(d.open)+1 >= maxOpenDirs; {
		var oldest *handle
		for _, h := range d.open {
			if h.users.Load() == 0 && (oldest == nil || h.tick < oldest.tick) {
				oldest = h
			}
		}
		if oldest == nil && waited {
			return nil // what is left has the caller
		}
		if oldest == nil {
			d.idle()
			waited = true
			continue
		}
		delete(d.open, oldest.path)
		if err := oldest.close(); err != nil {
			return err
		}
	}
	return nil
}

func (d *dirs) close() error {
	var first error
	for _, h := range d.open {
		if err := h.close(); err != nil && first == nil {
			first = err
		}
	}
	d.open = nil
	if err := d.root.place.Close(); err != nil && first == nil {
		first = err
	}
	return first
}

func temporary() string {
	var random [8]byte
	_, _ = rand.Read(random[:])
	return "." + hex.EncodeToString(random[:]) + ".tmp"
}

// Buffers for small files come in sizes that grow fourfold.
var bufferPools = [...]sync.Pool{ //nolint:gochecknoglobals // buffers
	bufferPool(4 << 10), bufferPool(16 << 10), bufferPool(64 << 10), bufferPool(256 << 10), bufferPool(1 << 20),
}

func bufferPool(size int) sync.Pool { //nolint:govet // copied before first use
	return sync.Pool{New: func() any { b := make([]byte, size); return &b }}
}

func bufferClass(size int64) int {
	class := 0
	for limit := int64(4 << 10); size > limit; limit <<= 2 {
		class++
	}
	return class
}

func getBuffer(size int64) *[]byte { return bufferPools[bufferClass(size)].Get().(*[]byte) }

func putBuffer(b *[]byte) { bufferPools[bufferClass(int64(len(*b)))].Put(b) }
