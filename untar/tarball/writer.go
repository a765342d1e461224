// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tarball

import (
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/gitops-kit/sdk/untar/digest"
	"github.com/gitops-kit/sdk/untar/ignore"
	"github.com/gitops-kit/sdk/untar/internal/names"
)

// Writer writes one archive. It is not safe for concurrent use.
type Writer struct {
	o      Options
	b      *blocks
	walker *ignore.Walker
	res    Result
	last   string   // order key of the last path that was added
	open   []folder // directories that the next entry may be below
	names  []string // added files whose names the next path may begin with
	err    error
	hdr    []byte
	total  int64 // tar bytes so far
	closed bool
}

// folder is a directory on the way to the current entry.
type folder struct {
	path    string // with a trailing slash
	mode    fs.FileMode
	written bool // false: excluded, but something below may be kept
}

// NewWriter returns a Writer to w. Nothing is written before the first block
// is full or Close is called. An unknown digest algorithm is reported by the
// first call.
func NewWriter(w io.Writer, o Options) *Writer {
	t := &Writer{o: o}
	if o.Ignore != nil {
		t.walker = o.Ignore.Walker()
	}
	t.b, t.err = newBlocks(w, o)
	return t
}

// Add appends an entry. Paths are relative, clean and slash-separated, and
// come in bytewise order, directories as if they ended in a slash and before
// their content (the order of a git tree). mode tells files, directories and
// links apart and has the x bits. r gives exactly size bytes; it may be nil
// for a directory. It is read during the call only.
//
// What is neither a file nor a directory is left out and listed in
// [Result.Skipped]. What [Options.Ignore] or [Options.Skip] exclude is left
// out unread; for a directory whose content is excluded with it, Add returns
// [fs.SkipDir], and its content need not be added.
//
// After any other error the archive is lost: all further calls return it.
func (t *Writer) Add(path string, mode fs.FileMode, size int64, r io.Reader) error {
	if t.err != nil {
		return t.err
	}
	if t.closed {
		return ErrClosed
	}
	err := t.add(path, mode, size, r)
	if err != nil && !errors.Is(err, fs.SkipDir) {
		t.err = entryError(path, err)
		return t.err
	}
	return err
}

func (t *Writer) add(path string, mode fs.FileMode, size int64, r io.Reader) error {
	if err := t.check(path); err != nil {
		return err
	}
	key := path
	if mode.IsDir() {
		key += "/"
	}
	if err := t.next(path, key); err != nil {
		return err
	}
	switch {
	case mode.IsDir():
		return t.directory(path, key, mode)
	case t.walker != nil && !t.walker.File(path), t.o.Skip != nil && t.o.Skip(path, false):
		return nil
	case !mode.IsRegular():
		if len(t.res.Skipped) < maxSkipped {
			t.res.Skipped = append(t.res.Skipped, path)
		}
		return nil
	}
	return t.file(path, mode, size, r)
}

// check refuses a path that is not clean, or too long or deep.
func (t *Writer) check(path string) error {
	if limit := t.o.Limits.path(); int64(len(path)) > limit {
		return &LimitError{Name: limitPath, Max: limit, Got: int64(len(path))}
	}
	depth := int64(1)
	start := 0
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			if path[i] == 0 {
				return ErrName
			}
			continue
		}
		c := path[start:i]
		if c == "" || c == "." || names.Unsafe(c, start == 0) != "" {
			return ErrName
		}
		if limit := t.o.Limits.component(); int64(len(c)) > limit {
			return &LimitError{Name: limitComponent, Max: limit, Got: int64(len(c))}
		}
		if i < len(path) {
			depth++
		}
		start = i + 1
	}
	if limit := t.o.Limits.depth(); depth > limit {
		return &LimitError{Name: limitDepth, Max: limit, Got: depth}
	}
	return nil
}

// next checks that a path comes after all before it and is not there yet.
func (t *Writer) next(path, key string) error {
	if key <= t.last {
		return ErrOrder
	}
	t.last = key
	for n := len(t.names); n > 0 && !strings.HasPrefix(path, t.names[n-1]); n-- {
		t.names = t.names[:n-1]
	}
	if key == path {
		t.names = append(t.names, path)
	} else if n := len(t.names); n > 0 && t.names[n-1] == path {
		return ErrOrder // a file of that name was added
	}
	return t.enter(path)
}

// enter leaves the directories that path is not below, and checks that the
// parent was added.
func (t *Writer) enter(path string) error {
	for n := len(t.open); n > 0 && !strings.HasPrefix(path, t.open[n-1].path); n-- {
		t.open = t.open[:n-1]
	}
	parent := path[:strings.LastIndexByte(path, '/')+1]
	if parent == "" || len(t.open) > 0 && t.open[len(t.open)-1].path == parent {
		return nil
	}
	return ErrOrder
}

func (t *Writer) directory(path, key string, mode fs.FileMode) error {
	f := folder{path: key, mode: mode}
	decision := ignore.Keep
	if t.walker != nil {
		decision = t.walker.Enter(path)
	}
	if decision == ignore.Prune || t.o.Skip != nil && t.o.Skip(path, true) {
		return fs.SkipDir
	}
	t.open = append(t.open, f)
	if decision == ignore.Keep {
		return t.parents()
	}
	return nil
}

// parents writes the open directories that were not written yet.
func (t *Writer) parents() error {
	for i := range t.open {
		f := &t.open[i]
		if f.written {
			continue
		}
		f.written = true
		t.res.Dirs++
		if err := t.header(f.path, t.o.Modes.mode(f.mode), 0, '5'); err != nil {
			return err
		}
	}
	return nil
}

func (t *Writer) header(path string, mode, size int64, flag byte) error {
	if n, limit := int64(t.res.Files+t.res.Dirs), t.o.Limits.entries(); n > limit {
		return &LimitError{Name: limitEntries, Max: limit, Got: n}
	}
	t.hdr = appendHeader(t.hdr[:0], path, mode, size, flag)
	t.total += int64(len(t.hdr)) + size + (-size & (blockSize - 1))
	if limit := t.o.Limits.expanded(); t.total > limit {
		return &LimitError{Name: limitExpanded, Max: limit, Got: t.total}
	}
	_, err := t.b.Write(t.hdr)
	return err
}

func (t *Writer) file(path string, mode fs.FileMode, size int64, r io.Reader) error {
	if limit := t.o.Limits.file(); size > limit {
		return &LimitError{Name: limitFile, Max: limit, Got: size}
	}
	if size < 0 {
		return ErrChanged
	}
	if err := t.parents(); err != nil {
		return err
	}
	t.res.Files++
	if err := t.header(path, t.o.Modes.mode(mode), size, '0'); err != nil {
		return err
	}
	if err := t.content(size, r); err != nil {
		return err
	}
	var zero [blockSize]byte
	_, err := t.b.Write(zero[:-size&(blockSize-1)])
	return err
}

// content copies exactly size bytes straight into the blocks. Where there is
// room it asks for one byte more, so that a file that did not change is read
// by one call.
func (t *Writer) content(size int64, r io.Reader) error {
	if r == nil {
		if size > 0 {
			return ErrChanged
		}
		return nil
	}
	for left := size; ; {
		room := t.b.room()
		p := room[:min(int64(len(room)), left+1)]
		n, err := r.Read(p)
		if int64(n) > left {
			return ErrChanged
		}
		t.b.wrote(n)
		left -= int64(n)
		switch {
		case errors.Is(err, io.EOF):
			if left > 0 {
				return ErrChanged
			}
			return nil
		case err != nil:
			return err
		case left == 0 && n < len(p) && n > 0:
			if f, ok := r.(*reader); ok && f.opened {
				return nil // a short read of a regular file is its end
			}
		case t.b.failed.Load():
			return t.b.err
		}
	}
}

// Close writes the end of the archive and returns what was written. After an
// error of Add it writes nothing more and returns that error. The second
// Close returns [ErrClosed].
func (t *Writer) Close() (*Result, error) {
	if t.closed {
		return nil, ErrClosed
	}
	t.closed = true
	if t.err == nil {
		var end [2 * blockSize]byte
		_, t.err = t.b.Write(end[:])
	}
	if t.b == nil {
		return nil, t.err
	}
	if t.err != nil {
		_ = t.b.wait()
		return nil, t.err
	}
	if err := t.b.finish(); err != nil {
		return nil, err
	}
	t.res.Size, t.res.Expanded = t.b.size, t.b.raw
	t.res.DiffID = digest.Sum(digest.SHA256, t.b.diff).String()
	t.res.Digests = make(map[string]string, len(t.b.algos))
	for i, a := range t.b.algos {
		t.res.Digests[a] = digest.Sum(a, t.b.hashes[i]).String()
	}
	res := t.res
	return &res, nil
}
