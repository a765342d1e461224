// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tarball

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Pack writes the tree below root to w. Files, directories and their order
// are those of the archive, whatever order the file system has; links and
// special files are left out and listed. Excluded directories are not opened.
// Files are opened without following links; one that changes its size while
// it is read is an [ErrChanged].
func Pack(ctx context.Context, w io.Writer, root *os.Root, o Options) (*Result, error) {
	t := NewWriter(w, o)
	p := &packer{ctx: ctx, t: t}
	err := p.dir(root, "")
	if err != nil && t.err == nil {
		t.err = err
	}
	return t.Close()
}

type packer struct {
	ctx  context.Context //nolint:containedctx // lives for one call
	t    *Writer
	file reader
}

// child is one name in a directory.
type child struct {
	key string // the name, with a slash behind a directory's
	typ fs.FileMode
}

// dir adds the content of a directory; path is "" or ends in a slash.
func (p *packer) dir(d *os.Root, path string) error {
	at, err := openPlace(d)
	if err != nil {
		return entryError(path, err)
	}
	defer at.close()
	children, err := at.list()
	if err != nil {
		return entryError(path, err)
	}
	for _, c := range children {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		var err error
		if c.typ.IsDir() {
			err = p.sub(d, path, c.key[:len(c.key)-1])
		} else {
			err = p.leaf(at, path, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list reads a directory in the order of the archive.
func (p place) list() ([]child, error) {
	children, err := p.names()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(children, func(a, b child) int { return strings.Compare(a.key, b.key) })
	return children, nil
}

// newChild returns the child for a name that was listed.
func newChild(name string, typ fs.FileMode) child {
	if typ.IsDir() {
		name += "/"
	}
	return child{key: name, typ: typ}
}

func (p *packer) sub(d *os.Root, path, name string) error {
	info, err := d.Lstat(name)
	if err != nil {
		return entryError(path+name, err)
	}
	if !info.IsDir() {
		return entryError(path+name, ErrChanged)
	}
	switch err := p.t.Add(path+name, info.Mode(), 0, nil); {
	case errors.Is(err, fs.SkipDir):
		return nil
	case err != nil:
		return err
	}
	sub, err := d.OpenRoot(name)
	if err != nil {
		return entryError(path+name, err)
	}
	defer sub.Close() //nolint:errcheck // opened for reading
	if now, err := sub.Stat("."); err != nil || !os.SameFile(info, now) {
		return entryError(path+name, errors.Join(ErrChanged, err))
	}
	return p.dir(sub, path+name+"/")
}

func (p *packer) leaf(d place, path string, c child) error {
	if !c.typ.IsRegular() {
		return p.t.Add(path+c.key, c.typ, 0, nil)
	}
	p.file = reader{packer: p, dir: d, name: c.key}
	defer p.file.close()
	return p.t.addLazy(path+c.key, &p.file)
}

// reader opens a file when it is known to be kept.
type reader struct {
	*packer
	dir    place
	name   string
	f      opened
	opened bool
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.f.read(p)
}

func (r *reader) close() {
	if r.opened {
		r.f.close()
	}
}

// open opens the file without following a link.
func (r *reader) open() (mode fs.FileMode, size int64, err error) {
	r.f, mode, size, err = r.dir.open(r.name)
	r.opened = err == nil
	if r.opened && !mode.IsRegular() {
		err = fmt.Errorf("%w: no regular file any more", ErrChanged)
	}
	return mode, size, err
}

// addLazy is Add for a regular file that is opened only if it is kept.
func (t *Writer) addLazy(path string, r *reader) error {
	if t.err != nil {
		return t.err
	}
	err := t.lazily(path, r)
	if err != nil {
		t.err = entryError(path, err)
		if ctxErr := r.ctx.Err(); ctxErr != nil && errors.Is(err, ctxErr) {
			t.err = err
		}
	}
	return t.err
}

func (t *Writer) lazily(path string, r *reader) error {
	if err := t.check(path); err != nil {
		return err
	}
	if err := t.next(path, path); err != nil {
		return err
	}
	if t.walker != nil && !t.walker.File(path) || t.o.Skip != nil && t.o.Skip(path, false) {
		return nil
	}
	mode, size, err := r.open()
	if err != nil {
		return err
	}
	return t.file(path, mode, size, r)
}
