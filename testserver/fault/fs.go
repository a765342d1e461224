// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"
)

// File is what [FS] opens; *os.File has all of it.
type File interface { //nolint:interfacebloat // as wide as the part of *os.File it stands for
	io.Reader
	io.ReaderAt
	io.Writer
	io.Seeker
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
	ReadDir(n int) ([]fs.DirEntry, error)
}

var _ File = (*os.File)(nil)

// Op is one file operation that changed something or made it durable.
type Op struct {
	// Kind is "create", "write", "truncate", "sync", "syncdir", "mkdir",
	// "rename", "remove", "symlink", "link" or the name given to [FS.Hook].
	Kind string
	// Name is the path below the root; To is the new name of a rename or link,
	// or a symlink's target.
	Name, To string

	file *faultFile // if the name is that of an open file, which may have moved
	off  int64
	data []byte
}

// FS is a directory, opened as an [os.Root], whose operations are counted and
// can be made to fail, and whose content after a power cut can be computed. Its
// methods are those of os.Root with [File] for *os.File. It is safe for
// concurrent use.
type FS struct {
	root *os.Root

	mu    sync.Mutex
	begin *node // what was there, all of it durable
	live  *node // the model of what is there now
	ops   []Op
	fails []failure
	open  map[*faultFile]struct{}
}

type failure struct {
	from, to int
	err      error
}

// NewFS wraps root. What it holds now counts as durable; it is read into memory.
func NewFS(root *os.Root) (*FS, error) {
	begin, err := readNode(root, ".")
	if err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	return &FS{root: root, begin: begin, live: begin.clone(map[*node]*node{}), open: map[*faultFile]struct{}{}}, nil
}

// Fail makes the k-th counted operation from now on fail with err, such as
// syscall.ENOSPC. k counts from 1.
func (f *FS) Fail(k int, err error) { f.FailRange(k, k, err) }

// FailFrom makes all counted operations from the k-th from now on fail.
func (f *FS) FailFrom(k int, err error) { f.FailRange(k, int(^uint(0)>>1), err) }

// FailRange makes the operations from the k-th to the l-th from now on fail.
func (f *FS) FailRange(k, l int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.ops)
	to := l
	if l < int(^uint(0)>>1)-n {
		to = n + l
	}
	f.fails = append(f.fails, failure{from: n + k, to: to, err: err})
}

// Heal forgets all failures.
func (f *FS) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = nil
}

// Ops returns the operations so far. Failed ones are counted, without effect,
// with "!" before their kind.
func (f *FS) Ops() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Op(nil), f.ops...)
}

// Hook counts an operation of code that cannot use an FS but asks before each
// step, and returns the failure planned for it. Such operations are unknown to
// [FS.PowerCut].
func (f *FS) Hook(kind, name string) error {
	return f.do(Op{Kind: kind, Name: name}, func(*Op) error { return nil })
}

// do counts an operation, lets it fail or runs it, and keeps the model in step.
func (f *FS) do(op Op, run func(*Op) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op.file != nil {
		op.Name = op.file.name
	}
	k := len(f.ops) + 1
	for _, x := range f.fails {
		if k >= x.from && k <= x.to {
			op.Kind = "!" + op.Kind
			f.ops = append(f.ops, op)
			return &fs.PathError{Op: op.Kind[1:], Path: op.Name, Err: x.err}
		}
	}
	if err := run(&op); err != nil {
		op.Kind = "!" + op.Kind
		f.ops = append(f.ops, op)
		return err
	}
	f.ops = append(f.ops, op)
	f.live.apply(op)
	if op.Kind == "rename" {
		for x := range f.open {
			if rest, ok := strings.CutPrefix(x.name, path.Clean(op.Name)); ok && (rest == "" || rest[0] == '/') {
				x.name = path.Clean(op.To) + rest
			}
		}
	}
	return nil
}

// wrap remembers an open file until it is closed.
func (f *FS) wrap(file *os.File, name string, appends bool) *faultFile {
	x := &faultFile{file: file, fs: f, name: path.Clean(name), append: appends}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[x] = struct{}{}
	return x
}

const writing = os.O_WRONLY | os.O_RDWR | os.O_CREATE | os.O_TRUNC | os.O_APPEND

// OpenFile opens a file. Opening to create or truncate counts.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	var file *os.File
	if flag&writing == 0 {
		o, err := f.root.OpenFile(name, flag, perm)
		if err != nil {
			return nil, err
		}
		return f.wrap(o, name, false), nil
	}
	kind := "open"
	_, err := f.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0:
		kind = "create"
	case flag&os.O_TRUNC != 0:
		kind = "truncate"
	}
	err = f.do(Op{Kind: kind, Name: name}, func(*Op) (err error) {
		file, err = f.root.OpenFile(name, flag, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f.wrap(file, name, flag&os.O_APPEND != 0), nil
}

// Open opens a file or directory for reading.
func (f *FS) Open(name string) (File, error) { return f.OpenFile(name, os.O_RDONLY, 0) }

// Create makes or truncates a file.
func (f *FS) Create(name string) (File, error) {
	return f.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

// Mkdir makes a directory.
func (f *FS) Mkdir(name string, perm fs.FileMode) error {
	return f.do(Op{Kind: "mkdir", Name: name}, func(*Op) error { return f.root.Mkdir(name, perm) })
}

// Rename moves a file or directory.
func (f *FS) Rename(from, to string) error {
	return f.do(Op{Kind: "rename", Name: from, To: to}, func(*Op) error { return f.root.Rename(from, to) })
}

// Remove removes a file or empty directory.
func (f *FS) Remove(name string) error {
	return f.do(Op{Kind: "remove", Name: name}, func(*Op) error { return f.root.Remove(name) })
}

// Symlink makes a symbolic link to target.
func (f *FS) Symlink(target, name string) error {
	return f.do(Op{Kind: "symlink", Name: name, To: target}, func(*Op) error { return f.root.Symlink(target, name) })
}

// Link makes a hard link.
func (f *FS) Link(from, to string) error {
	return f.do(Op{Kind: "link", Name: from, To: to}, func(*Op) error { return f.root.Link(from, to) })
}

// Lstat describes a file without following a link at its end.
func (f *FS) Lstat(name string) (fs.FileInfo, error) { return f.root.Lstat(name) }

// Stat describes a file.
func (f *FS) Stat(name string) (fs.FileInfo, error) { return f.root.Stat(name) }

// Readlink returns the target of a symbolic link.
func (f *FS) Readlink(name string) (string, error) { return f.root.Readlink(name) }

// Chmod changes a mode; it is not counted.
func (f *FS) Chmod(name string, mode fs.FileMode) error { return f.root.Chmod(name, mode) }

// Chtimes changes times; it is not counted.
func (f *FS) Chtimes(name string, atime, mtime time.Time) error {
	return f.root.Chtimes(name, atime, mtime)
}

// ReadFile reads a whole file.
func (f *FS) ReadFile(name string) ([]byte, error) { return f.root.ReadFile(name) }

// WriteFile writes a whole file: a create or truncate, a write, no sync.
func (f *FS) WriteFile(name string, data []byte, perm fs.FileMode) error {
	file, err := f.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// faultFile is an open file of an FS. It does not embed *os.File, whose other
// ways to write would not be counted.
type faultFile struct {
	file   *os.File
	fs     *FS
	name   string // guarded by fs.mu
	append bool
	mu     sync.Mutex
}

func (x *faultFile) Read(p []byte) (int, error)                { return x.file.Read(p) }
func (x *faultFile) ReadAt(p []byte, off int64) (int, error)   { return x.file.ReadAt(p, off) }
func (x *faultFile) Seek(off int64, whence int) (int64, error) { return x.file.Seek(off, whence) }
func (x *faultFile) Stat() (fs.FileInfo, error)                { return x.file.Stat() }
func (x *faultFile) ReadDir(n int) ([]fs.DirEntry, error)      { return x.file.ReadDir(n) }
func (x *faultFile) Name() string                              { return x.file.Name() }

// Close closes the file; nothing becomes durable by it.
func (x *faultFile) Close() error {
	x.fs.mu.Lock()
	delete(x.fs.open, x)
	x.fs.mu.Unlock()
	return x.file.Close()
}

// Write writes at the file's position.
func (x *faultFile) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	err := x.fs.do(Op{Kind: "write", file: x}, func(op *Op) error {
		whence := io.SeekCurrent
		if x.append {
			whence = io.SeekEnd
		}
		off, err := x.file.Seek(0, whence)
		if err != nil {
			return err
		}
		n, err = x.file.Write(p)
		op.off, op.data = off, append([]byte(nil), p[:n]...)
		return err
	})
	return n, err
}

// Truncate changes the size.
func (x *faultFile) Truncate(size int64) error {
	return x.fs.do(Op{Kind: "truncate", file: x, off: size}, func(*Op) error { return x.file.Truncate(size) })
}

// Sync makes the content of a file, or the entries of a directory, durable.
func (x *faultFile) Sync() error {
	kind := "sync"
	if i, err := x.file.Stat(); err == nil && i.IsDir() {
		kind = "syncdir"
	}
	return x.fs.do(Op{Kind: kind, file: x}, func(*Op) error { return x.file.Sync() })
}
