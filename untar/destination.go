// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gitops-kit/sdk/untar/internal/fail"
)

const treeName = "tree"

// destination is where the tree goes: a private staging directory beside it,
// or the existing directory itself.
type destination struct {
	parent  *os.Root
	name    string // last component
	staging string // name of the staging directory, "" when writing in place
	root    *os.Root
}

// openDestination checks dir and opens the directory to write into. Only the
// parent's path is followed.
func openDestination(dir string, existing bool) (*destination, error) {
	if dir == "" {
		return nil, fmt.Errorf("extract: %w", fs.ErrInvalid)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("extract: %w", err)
	}
	d := &destination{name: filepath.Base(abs)}
	if d.parent, err = os.OpenRoot(filepath.Dir(abs)); err != nil {
		return nil, fmt.Errorf("extract: %w", err)
	}
	if err := d.open(existing); err != nil {
		_ = d.parent.Close()
		return nil, fmt.Errorf("extract: %w", err)
	}
	fail.Point(failAfterMkdir)
	return d, nil
}

// open opens the directory to write into.
func (d *destination) open(existing bool) error {
	present, err := d.inspect(existing)
	switch {
	case err != nil:
		return err
	case !existing:
		return d.stage()
	case !present:
		if err := d.parent.Mkdir(d.name, 0o755); err != nil {
			return err
		}
	}
	d.root, err = d.parent.OpenRoot(d.name)
	return err
}

// inspect reports whether the destination is there, and refuses what it must
// not be.
func (d *destination) inspect(existing bool) (present bool, err error) {
	info, err := d.parent.Lstat(d.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.IsDir() {
		return false, ErrNotEmpty
	}
	if existing {
		return true, nil
	}
	f, err := d.parent.Open(d.name)
	if err != nil {
		return false, err
	}
	_, err = f.ReadDir(1)
	_ = f.Close()
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	if err == nil {
		err = ErrNotEmpty
	}
	return false, err
}

// stage makes the staging directory, 0700, and the tree in it.
func (d *destination) stage() error {
	for range 100 {
		var random [8]byte
		_, _ = rand.Read(random[:])
		name := d.name
		if len(name) > 200 {
			name = name[:200]
		}
		d.staging = "." + name + "." + hex.EncodeToString(random[:]) + ".tmp"
		err := d.parent.Mkdir(d.staging, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		tree := d.staging + "/" + treeName
		if err = d.parent.Mkdir(tree, 0o755); err == nil {
			d.root, err = d.parent.OpenRoot(tree)
		}
		if err != nil {
			_ = d.parent.RemoveAll(d.staging)
			return err
		}
		return nil
	}
	return fs.ErrExist
}

// close publishes the tree, or removes it if err is not nil. It returns the
// first error.
func (d *destination) close(err error) error {
	if cerr := d.root.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("extract: %w", cerr)
	}
	if d.staging != "" {
		if err == nil {
			fail.Point(failBeforePublish)
			err = d.publish()
		}
		if rerr := d.parent.RemoveAll(d.staging); rerr != nil {
			err = errors.Join(err, fmt.Errorf("extract: remove staging directory: %w", rerr))
		}
	}
	_ = d.parent.Close()
	return err
}

// publish renames the tree to the destination; an empty directory there is
// replaced.
func (d *destination) publish() error {
	err := d.parent.Rename(d.staging+"/"+treeName, d.name)
	if errors.Is(err, fs.ErrExist) {
		// [os.Root.Rename] replaces no directory; Remove takes an empty one only.
		if err = d.parent.Remove(d.name); err == nil {
			err = d.parent.Rename(d.staging+"/"+treeName, d.name)
		}
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrExist) || isNotEmpty(err) {
		err = fmt.Errorf("%w: %w", ErrNotEmpty, err)
	}
	return fmt.Errorf("extract: publish: %w", err)
}
