// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tarball

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// place is an open directory whose files are opened by name.
type place struct {
	root *os.Root
	dir  *os.File
	fd   int
}

func openPlace(root *os.Root) (place, error) {
	f, err := root.OpenFile(".", os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return place{}, err
	}
	return place{root: root, dir: f, fd: int(f.Fd())}, nil
}

func (p place) close() { _ = p.dir.Close() }

// Layout of a directory entry (getdents64): inode, offset, length, type, name.
const (
	direntLength = 16
	direntType   = 18
	direntName   = 19
)

var direntPool = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }} //nolint:gochecknoglobals // buffers

// names lists the directory. The types are those that the kernel lists: the
// ReadDir of a file that was opened in an [os.Root] asks for each file again.
func (p place) names() ([]child, error) {
	buf := direntPool.Get().(*[]byte)
	defer direntPool.Put(buf)
	var children []child
	for {
		n, err := syscall.ReadDirent(p.fd, *buf)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("getdents", err)
		}
		if n <= 0 {
			return children, nil
		}
		for b := (*buf)[:n]; len(b) > direntName; {
			size := int(binary.NativeEndian.Uint16(b[direntLength:]))
			if size <= direntName || size > len(b) {
				return nil, os.NewSyscallError("getdents", syscall.EIO)
			}
			c, err := p.child(b[direntName:size], b[direntType])
			if err != nil {
				return nil, err
			}
			if c.key != "" {
				children = append(children, c)
			}
			b = b[size:]
		}
	}
}

// child returns the entry of a NUL-terminated name; the zero child for what
// is no entry or gone.
func (p place) child(name []byte, kind byte) (child, error) {
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	s := string(name)
	switch {
	case s == "." || s == "..":
		return child{}, nil
	case kind == syscall.DT_REG:
		return newChild(s, 0), nil
	case kind == syscall.DT_DIR:
		return newChild(s, fs.ModeDir), nil
	case kind == syscall.DT_LNK:
		return newChild(s, fs.ModeSymlink), nil
	case kind != syscall.DT_UNKNOWN:
		return newChild(s, fs.ModeIrregular), nil
	}
	info, err := p.root.Lstat(s) // a file system that does not list types
	if errors.Is(err, fs.ErrNotExist) {
		return child{}, nil
	}
	if err != nil {
		return child{}, err
	}
	return newChild(s, info.Mode().Type()), nil
}

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
