// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// assets links the names of the real programs to this one in a directory, for
// test frameworks that look for them there.
func assets(args []string) int {
	if len(args) != 1 {
		_, _ = fmt.Fprintln(os.Stderr, "usage: controlplane assets DIR")
		return 1
	}
	if err := writeAssets(args[0]); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "controlplane: assets: %v\n", err)
		return 1
	}
	return 0
}

func writeAssets(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var names []string
	for name := range applets() {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := link(self, filepath.Join(dir, name)); err != nil {
			return err
		}
		_, _ = fmt.Fprintln(os.Stdout, filepath.Join(dir, name))
	}
	return nil
}

// link makes target another name of self, or a copy where links fail. It
// replaces a file that is there.
func link(self, target string) error {
	temp := fmt.Sprintf("%s.%d", target, os.Getpid())
	err := os.Symlink(self, temp)
	if err != nil {
		err = os.Link(self, temp)
	}
	if err != nil {
		err = copyFile(self, temp)
	}
	if err == nil {
		err = os.Rename(temp, target)
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
	}()
	_, err = io.Copy(out, in)
	return err
}
