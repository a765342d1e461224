// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import "os"

// Dirs are the open directories of an extraction.
type Dirs = dirs

// NewDirs opens directories below root. idle is called when all of them are
// in use.
func NewDirs(root *os.Root, idle func()) *Dirs { return newDirs(root, false, &Report{}, idle) }

// Get opens a directory for a user, who releases it.
func (d *dirs) Get(path string) (release func(), err error) {
	h, err := d.get(path)
	if err != nil {
		return nil, err
	}
	return h.release, nil
}

// Open is the number of open directories, the root included.
func (d *dirs) Open() int { return len(d.open) + 1 }

// Close closes all of them.
func (d *dirs) Close() error { return d.close() }
