//go:build !linux

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package newfile makes many new files in a directory.
package newfile

import (
	"io/fs"
	"os"
	"time"
)

// Dir is an open directory. The zero value is closed.
type Dir struct{ root *os.Root }

// Open opens the directory of root, which has to stay open; close the result.
func Open(root *os.Root) (Dir, error) { return Dir{root}, nil }

// Close closes the directory.
func (d Dir) Close() error { return nil }

// Create makes a new file; name is a single component. What is there, also a
// link, is never opened: that is an [fs.ErrExist].
func (d Dir) Create(name string, perm fs.FileMode) (File, error) {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	return File{f, d.root, name}, err
}

// File is a new file, open for writing; close it once.
type File struct {
	*os.File
	root *os.Root
	name string
}

// SetTime sets the times of access and change of the bytes.
func (f File) SetTime(at time.Time) error { return f.root.Chtimes(f.name, at, at) }
