// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package fetch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gitops-kit/sdk/artifact/internal/fail"
)

// lockDir locks a directory for this process; nil if another one has it.
func lockDir(dir string) (*os.File, error) { return lock(dir, os.O_CREATE) }

// lockLeft is lockDir for a directory that somebody made. It makes no lock
// file: the one that was there went with the directory, just now.
func lockLeft(dir string) (*os.File, error) { return lock(dir, 0) }

func lock(dir string, create int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|create|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	fail.Point(failLock)
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, err
	}
	return f, nil
}

// privateDir makes and locks a private directory below parent. Between the two
// the process that has parent may take it for one that was left behind; then
// another one is made.
func privateDir(parent string) (string, *os.File, error) {
	for range 10 {
		dir, err := os.MkdirTemp(parent, privatePrefix)
		if err != nil {
			return "", nil, err
		}
		lock, err := lockDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", nil, err
		}
		if lock == nil {
			continue
		}
		if holds(lock, filepath.Join(dir, lockName)) {
			return dir, lock, nil
		}
		_ = lock.Close()
	}
	return "", nil, errors.New("private directories vanish")
}

// holds reports whether path is still the file that was locked.
func holds(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}
