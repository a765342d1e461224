// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package tarball

import (
	"io/fs"
	"os"
)

// place is an open directory whose files are opened by name.
type place struct {
	dir  *os.File
	root *os.Root
}

func openPlace(root *os.Root) (place, error) {
	f, err := root.Open(".")
	return place{dir: f, root: root}, err
}

func (p place) close() { _ = p.dir.Close() }

// names lists the directory.
func (p place) names() ([]child, error) {
	entries, err := p.dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	children := make([]child, len(entries))
	for i, e := range entries {
		children[i] = newChild(e.Name(), e.Type())
	}
	return children, nil
}

// opened is an open file.
type opened struct{ f *os.File }

// open opens a file that is none but the one that was looked at.
func (p place) open(name string) (opened, fs.FileMode, int64, error) {
	before, err := p.root.Lstat(name)
	if err != nil {
		return opened{}, 0, 0, err
	}
	if !before.Mode().IsRegular() {
		return opened{}, 0, 0, ErrChanged
	}
	f, err := p.root.Open(name)
	if err != nil {
		return opened{}, 0, 0, err
	}
	now, err := f.Stat()
	if err == nil && !os.SameFile(before, now) {
		err = ErrChanged
	}
	if err != nil {
		_ = f.Close()
		return opened{}, 0, 0, err
	}
	return opened{f}, now.Mode(), now.Size(), nil
}

func (o opened) read(p []byte) (int, error) { return o.f.Read(p) }

func (o opened) close() { _ = o.f.Close() }
