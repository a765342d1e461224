// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package newfile makes many new files in a directory with one open, the
// writes and one close each: nothing is looked up twice, and nothing is
// registered with the poller. Not for several goroutines on one [File]; a
// [Dir] may be used by several.
package newfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Dir is an open directory. The zero value is closed.
type Dir struct {
	dir *os.File
	fd  int
}

// Open opens the directory of root a second time; close the result.
func Open(root *os.Root) (Dir, error) {
	f, err := root.OpenFile(".", os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return Dir{}, err
	}
	return Dir{dir: f, fd: int(f.Fd())}, nil
}

// Close closes the directory.
func (d Dir) Close() error {
	if d.dir == nil {
		return nil
	}
	return d.dir.Close()
}

// Create makes a new file; name is a single component. What is there, also a
// link, is never opened: that is an [fs.ErrExist].
func (d Dir) Create(name string, perm fs.FileMode) (File, error) {
	for {
		fd, err := syscall.Openat(d.fd, name,
			syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, uint32(perm.Perm()))
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return -1, &fs.PathError{Op: "create", Path: name, Err: err}
		}
		return File(fd), nil
	}
}

// File is a new file, open for writing; close it once.
type File int

// Write implements [io.Writer].
func (f File) Write(b []byte) (n int, err error) {
	for n < len(b) {
		k, err := syscall.Write(int(f), b[n:])
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

// SetTime sets the times of access and change of the bytes.
func (f File) SetTime(at time.Time) error {
	tv := syscall.NsecToTimeval(at.UnixNano())
	return os.NewSyscallError("utimes", syscall.Utimes("/proc/self/fd/"+strconv.Itoa(int(f)), []syscall.Timeval{tv, tv}))
}

// Close closes the file.
func (f File) Close() error { return os.NewSyscallError("close", syscall.Close(int(f))) }
