//go:build !linux

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package worktree

import (
	"io/fs"
	"os"
)

// place is an open directory in which files are made by name.
type place struct{ root *os.Root }

func openPlace(root *os.Root) (place, error) { return place{root}, nil }

func (p place) close() {}

// create makes a new file; name is a single component. What is there, also a
// link, is never opened.
func (p place) create(name string, perm fs.FileMode) (created, error) {
	f, err := p.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	return created{f}, err
}

// created is a new file.
type created struct{ f *os.File }

// Write implements io.Writer.
func (c created) Write(b []byte) (int, error) { return c.f.Write(b) }

func (c created) close() error { return c.f.Close() }
