// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// errSchemaLane stops an engine that is about to meet a schema outside the lane.
var errSchemaLane = errors.New("kustomization brings a schema")

// errReadOnly is what every writing operation returns.
var errReadOnly = errors.New("file system is read-only")

// vfs is what the engine sees: the files that the loader read and checked, and
// nothing else. It touches memory only.
type vfs struct {
	l    *loader
	lane bool // the build may meet a schema
	met  bool // it met one outside the lane
}

var _ filesys.FileSystem = (*vfs)(nil)

// ReadFile serves a file that the loader prepared.
func (v *vfs) ReadFile(name string) ([]byte, error) {
	if err := v.l.ctx.Err(); err != nil {
		return nil, err
	}
	name = path.Clean(name)
	if k := v.l.kusts[path.Dir(name)]; k != nil && k.served != nil {
		if !isKustName(path.Base(name)) {
			return v.source(name)
		}
		if path.Base(name) != k.base() {
			return nil, v.absent(name)
		}
		if k.schema && !v.lane {
			v.met = true
			return nil, errSchemaLane
		}
		return k.served, nil
	}
	return v.source(name)
}

func (v *vfs) source(name string) ([]byte, error) {
	if src := v.l.sources[name]; src != nil && src.raw != nil {
		return src.data, nil
	}
	return nil, v.absent(name)
}

// base is the file name under which the engine finds the kustomization.
func (k *kust) base() string {
	if b := path.Base(k.rel); isKustName(b) {
		return b
	}
	return kustNames()[0]
}

func isKustName(name string) bool { return slices.Contains(kustNames(), name) }

// absent never shows a path of the machine.
func (v *vfs) absent(name string) error {
	t, rel, err := v.l.locate(name)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path.Base(name), Err: ErrPathEscape}
	}
	return &fs.PathError{Op: "open", Path: t.name(rel), Err: fs.ErrNotExist}
}

// IsDir reports whether the loader found a directory of that name.
func (v *vfs) IsDir(name string) bool {
	_, f, err := v.CleanedAbs(name)
	return err == nil && f == ""
}

// Exists reports whether the name is known.
func (v *vfs) Exists(name string) bool {
	_, _, err := v.CleanedAbs(name)
	return err == nil
}

// CleanedAbs splits a path into directory and file.
func (v *vfs) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	if err := v.l.ctx.Err(); err != nil {
		return "", "", err
	}
	name = path.Clean(name)
	if v.l.kusts[name] != nil {
		return filesys.ConfirmedDir(name), "", nil
	}
	if v.l.sources[name] != nil {
		return filesys.ConfirmedDir(path.Dir(name)), path.Base(name), nil
	}
	for dir := range v.l.kusts {
		if strings.HasPrefix(dir, name+"/") {
			return filesys.ConfirmedDir(name), "", nil
		}
	}
	return "", "", v.absent(name)
}

// Create is refused.
func (v *vfs) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir is refused.
func (v *vfs) Mkdir(string) error { return errReadOnly }

// MkdirAll is refused.
func (v *vfs) MkdirAll(string) error { return errReadOnly }

// RemoveAll is refused.
func (v *vfs) RemoveAll(string) error { return errReadOnly }

// WriteFile is refused.
func (v *vfs) WriteFile(string, []byte) error { return errReadOnly }

// Open is refused: the engine reads whole files.
func (v *vfs) Open(string) (filesys.File, error) { return nil, fs.ErrInvalid }

// ReadDir is refused: the engine lists no directories.
func (v *vfs) ReadDir(string) ([]string, error) { return nil, fs.ErrInvalid }

// Glob is refused: the engine matches no patterns.
func (v *vfs) Glob(string) ([]string, error) { return nil, fs.ErrInvalid }

// Walk is refused: the engine walks no directories.
func (v *vfs) Walk(string, filepath.WalkFunc) error { return fs.ErrInvalid }
