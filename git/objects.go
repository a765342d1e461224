// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/packfile"
)

// objectDB is where the objects of a snapshot are.
type objectDB interface {
	// reader returns a reader for one goroutine.
	reader() objectReader
}

// objectReader reads objects. A missing one is driver.ErrObjectNotFound.
type objectReader interface {
	stat(id driver.Hash) (driver.Type, int64, error)
	get(id driver.Hash) (driver.Type, []byte, error)
	// open is valid until the next call.
	open(id driver.Hash) (io.ReadCloser, error)
	copyTo(id driver.Hash, w io.Writer) error
}

// packs are objects in packs just received; later packs complete the first.
type packs struct {
	mu   sync.Mutex // guards list while readers are made and packs added
	list []*packfile.Pack
}

func (p *packs) add(pk *packfile.Pack) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, pk)
}

func (p *packs) reader() objectReader {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &packsReader{}
	for _, pk := range p.list {
		r.rs = append(r.rs, pk.NewReader())
	}
	r.p = p.list[:len(r.rs):len(r.rs)]
	return r
}

func (p *packs) close() error {
	var errs []error
	for _, pk := range p.list {
		errs = append(errs, pk.Close())
	}
	return errors.Join(errs...)
}

type packsReader struct {
	p  []*packfile.Pack
	rs []*packfile.Reader
}

func (r *packsReader) find(id driver.Hash) (pack, at int, err error) {
	for n, p := range r.p {
		if i, ok := p.Find(id); ok {
			return n, i, nil
		}
	}
	return 0, 0, fmt.Errorf("object %s: %w", id, driver.ErrObjectNotFound)
}

func (r *packsReader) stat(id driver.Hash) (driver.Type, int64, error) {
	n, i, err := r.find(id)
	if err != nil {
		return 0, 0, err
	}
	return r.p[n].Type(i), r.p[n].ObjectSize(i), nil
}

func (r *packsReader) get(id driver.Hash) (driver.Type, []byte, error) {
	n, i, err := r.find(id)
	if err != nil {
		return 0, nil, err
	}
	b, err := r.rs[n].Get(i)
	return r.p[n].Type(i), b, err
}

func (r *packsReader) open(id driver.Hash) (io.ReadCloser, error) {
	n, i, err := r.find(id)
	if err != nil {
		return nil, err
	}
	return r.rs[n].Open(i)
}

func (r *packsReader) copyTo(id driver.Hash, w io.Writer) error {
	n, i, err := r.find(id)
	if err != nil {
		return err
	}
	return r.rs[n].WriteTo(i, w)
}

// source adapts a reader to the walks and writers of a worktree. What a tree
// names and the server did not send is the pack's fault.
type source struct{ r objectReader }

// emptyTrees are the ids of the tree without entries, which need not be sent.
var emptyTrees = map[string]bool{ //nolint:gochecknoglobals // a table that never changes
	"4b825dc642cb6eb9a060e54bf8d69288fbee4904":                         true,
	"6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321": true,
}

func promised(err error) error {
	if errors.Is(err, driver.ErrObjectNotFound) {
		return fmt.Errorf("server did not send %w: %w", err, ErrMalformedPack)
	}
	return err
}

// Tree implements worktree.Source.
func (s source) Tree(id driver.Hash) ([]byte, error) {
	t, b, err := s.r.get(id)
	if errors.Is(err, driver.ErrObjectNotFound) && emptyTrees[id.String()] {
		return nil, nil
	}
	if err != nil {
		return nil, promised(err)
	}
	if t != driver.Tree {
		return nil, fmt.Errorf("%s is a %s and no tree: %w", id, t, ErrMalformedObject)
	}
	return b, nil
}

// BlobSize implements worktree.Source.
func (s source) BlobSize(id driver.Hash) (int64, error) {
	t, n, err := s.r.stat(id)
	if err == nil && t != driver.Blob {
		err = fmt.Errorf("%s is a %s and no blob: %w", id, t, ErrMalformedObject)
	}
	return n, promised(err)
}

// WriteBlob implements worktree.Blobs.
func (s source) WriteBlob(id driver.Hash, w io.Writer) error {
	return promised(s.r.copyTo(id, w))
}

// blob reads a whole blob.
func (s source) blob(id driver.Hash) ([]byte, error) {
	if _, err := s.BlobSize(id); err != nil {
		return nil, err
	}
	_, b, err := s.r.get(id)
	return b, err
}

var _ objectDB = (*packs)(nil)
