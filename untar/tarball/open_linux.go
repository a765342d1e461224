// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tarball

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// place is an open directory whose files are opened by name.
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

func (p place) close() { _ = p.dir.Close() }

// opened is the descriptor of a file.
type opened int

// open opens a file without following a link or waiting for a FIFO. name is
// a single component.
func (p place) open(name string) (opened, fs.FileMode, int64, error) {
	for {
		fd, err := syscall.Openat(p.fd, name, syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if errors.Is(err, syscall.ELOOP) {
			err = ErrChanged // a link now
		}
		if err != nil {
			return -1, 0, 0, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		var st syscall.Stat_t
		if err := syscall.Fstat(fd, &st); err != nil {
			_ = syscall.Close(fd)
			return -1, 0, 0, &fs.PathError{Op: "stat", Path: name, Err: err}
		}
		mode := fs.FileMode(st.Mode & 0o777)
		if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
			mode |= fs.ModeIrregular
		}
		return opened(fd), mode, st.Size, nil
	}
}

func (o opened) read(p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(o), p)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

func (o opened) close() { _ = syscall.Close(int(o)) }
