// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package untar

import (
	"io/fs"
	"os"
	"time"
)

// place is an open directory in which files are created by name.
type place struct{ root *os.Root }

func openPlace(root *os.Root) (place, error) { return place{root: root}, nil }

func (p place) close() error { return nil }

// create makes a new file; what is there, also a link, is never opened.
func (p place) create(name string, mode fs.FileMode) (created, error) {
	f, err := p.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	return created{f, p.root, name}, err
}

// created is a new file.
type created struct {
	*os.File
	root *os.Root
	name string
}

func (c created) setTime(at time.Time) error { return c.root.Chtimes(c.name, at, at) }

func (c created) close() error { return c.Close() }

func isNotEmpty(error) bool { return false }
