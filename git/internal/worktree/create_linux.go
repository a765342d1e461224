// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package worktree

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// place is an open directory in which files are made by name: one open, the
// writes, one close. Nothing is looked up twice, and nothing is registered
// with the poller.
type place struct {
	dir *os.File
	fd  int
}

func openPlace(root *os.Root) (place, error) {
	f, err := root.OpenFile(".", os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return place{}, err
	}
	return place{dir: f, fd: int(f.Fd())}, nil
}

func (p place) close() {
	if p.dir != nil {
		_ = p.dir.Close()
	}
}

// create makes a new file; name is a single component. What is there, also a
// link, is never opened.
func (p place) create(name string, perm fs.FileMode) (created, error) {
	for {
		fd, err := syscall.Openat(p.fd, name,
			syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, uint32(perm.Perm()))
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return -1, &fs.PathError{Op: "create", Path: name, Err: err}
		}
		return created(fd), nil
	}
}

// created is the descriptor of a new file.
type created int

// Write implements io.Writer.
func (c created) Write(b []byte) (n int, err error) {
	for n < len(b) {
		k, err := syscall.Write(int(c), b[n:])
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return n, os.NewSyscallError("write", err)
		}
		if k == 0 {
			return n, io.ErrShortWrite
		}
		n += k
	}
	return n, nil
}

func (c created) close() error { return os.NewSyscallError("close", syscall.Close(int(c))) }
