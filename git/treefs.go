// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/object"
)

// treeFS is a commit's tree as a read-only file system. Links are not followed:
// opening one gives its target as content.
//
// A server that filters has not sent the blobs outside the sparse set: they
// are fetched when somebody asks for one.
type treeFS struct {
	ctx context.Context //nolint:containedctx // of the export
	s   *snapshot
	mu  sync.Mutex
	r   source
}

func newTreeFS(ctx context.Context, s *snapshot) *treeFS {
	return &treeFS{ctx: ctx, s: s, r: source{s.db.reader()}}
}

var (
	_ fs.ReadDirFS  = (*treeFS)(nil)
	_ fs.ReadFileFS = (*treeFS)(nil)
)

func (t *treeFS) find(name string) (object.Entry, error) {
	e := object.Entry{Mode: object.ModeTree, Hash: t.s.commit.Tree}
	if name == "." {
		return e, nil
	}
	for c := range strings.SplitSeq(name, "/") {
		if !e.IsTree() {
			return e, fs.ErrNotExist
		}
		entries, err := t.entries(e.Hash)
		if err != nil {
			return e, err
		}
		i := slices.IndexFunc(entries, func(e object.Entry) bool { return string(e.Name) == c })
		if i < 0 {
			return e, fs.ErrNotExist
		}
		e = entries[i]
	}
	return e, nil
}

func (t *treeFS) entries(id driver.Hash) ([]object.Entry, error) {
	raw, err := t.r.Tree(id)
	if err != nil {
		return nil, err
	}
	it := object.NewIter(id.Format(), raw)
	var out []object.Entry
	var e object.Entry
	for it.Next(&e) {
		out = append(out, e)
	}
	return out, it.Err()
}

func fileMode(e object.Entry) fs.FileMode {
	switch e.Mode {
	case object.ModeTree, object.ModeGitlink:
		return fs.ModeDir | 0o755
	case object.ModeSymlink:
		return fs.ModeSymlink | 0o777
	case object.ModeExec:
		return 0o755
	}
	return 0o644
}

func (t *treeFS) info(e object.Entry, name string) (*treeInfo, error) {
	i := &treeInfo{name: path.Base(name), mode: fileMode(e)}
	if i.IsDir() {
		return i, nil
	}
	err := t.have(e.Hash)
	if err == nil {
		i.size, err = t.r.BlobSize(e.Hash)
	}
	return i, err
}

// have fetches a blob that was left out.
func (t *treeFS) have(id driver.Hash) error {
	if !t.s.from.filtered {
		return nil
	}
	if _, _, err := t.r.r.stat(id); !errors.Is(err, driver.ErrObjectNotFound) {
		return err
	}
	if err := t.s.ensure(t.ctx, []Hash{id}); err != nil {
		return err
	}
	t.r = source{t.s.db.reader()} // one that knows the new pack
	return nil
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Open implements fs.FS.
func (t *treeFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, pathError("open", name, fs.ErrInvalid)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e, err := t.find(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	info, err := t.info(e, name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	f := &treeFile{info: info}
	if info.IsDir() {
		f.dir, err = t.list(e)
		return f, pathError("open", name, err)
	}
	b, err := t.blob(e)
	f.Reader = bytes.NewReader(b)
	return f, pathError("open", name, err)
}

func (t *treeFS) blob(e object.Entry) ([]byte, error) {
	return t.r.blob(e.Hash)
}

func (t *treeFS) list(e object.Entry) ([]fs.DirEntry, error) {
	if e.Mode != object.ModeTree {
		return nil, nil
	}
	entries, err := t.entries(e.Hash)
	if err != nil {
		return nil, err
	}
	out := make([]fs.DirEntry, 0, len(entries))
	for _, e := range entries {
		out = append(out, &treeEntry{t: t, e: e})
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// ReadDir implements fs.ReadDirFS.
func (t *treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	if !f.(*treeFile).info.IsDir() {
		return nil, pathError("readdir", name, errors.New("not a directory"))
	}
	return f.(*treeFile).dir, nil
}

// ReadFile implements fs.ReadFileFS.
func (t *treeFS) ReadFile(name string) ([]byte, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	tf := f.(*treeFile)
	if tf.info.IsDir() {
		return nil, pathError("read", name, errors.New("is a directory"))
	}
	b := make([]byte, tf.Len())
	_, err = io.ReadFull(tf.Reader, b)
	return b, pathError("read", name, err)
}

// treeEntry is an entry of a directory; its size is looked up when asked for.
type treeEntry struct {
	t *treeFS
	e object.Entry
}

func (e *treeEntry) Name() string      { return string(e.e.Name) }
func (e *treeEntry) IsDir() bool       { return fileMode(e.e).IsDir() }
func (e *treeEntry) Type() fs.FileMode { return fileMode(e.e).Type() }

// Info implements fs.DirEntry.
func (e *treeEntry) Info() (fs.FileInfo, error) {
	e.t.mu.Lock()
	defer e.t.mu.Unlock()
	i, err := e.t.info(e.e, e.Name())
	return i, pathError("stat", e.Name(), err)
}

type treeInfo struct {
	name string
	mode fs.FileMode
	size int64
}

func (i *treeInfo) Name() string       { return i.name }
func (i *treeInfo) Size() int64        { return i.size }
func (i *treeInfo) Mode() fs.FileMode  { return i.mode }
func (i *treeInfo) ModTime() time.Time { return time.Time{} }
func (i *treeInfo) IsDir() bool        { return i.mode.IsDir() }
func (i *treeInfo) Sys() any           { return nil }

type treeFile struct {
	*bytes.Reader
	info *treeInfo
	dir  []fs.DirEntry
	at   int
}

func (f *treeFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *treeFile) Close() error               { return nil }

// Read implements fs.File.
func (f *treeFile) Read(b []byte) (int, error) {
	if f.info.IsDir() {
		return 0, fmt.Errorf("%q is a directory", f.info.name)
	}
	return f.Reader.Read(b)
}

// ReadDir implements fs.ReadDirFile.
func (f *treeFile) ReadDir(n int) ([]fs.DirEntry, error) {
	rest := f.dir[f.at:]
	if n > 0 && len(rest) == 0 {
		return nil, io.EOF
	}
	if n > 0 && n < len(rest) {
		rest = rest[:n]
	}
	f.at += len(rest)
	return rest, nil
}
