// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/gitops-kit/sdk/git/driver"
)

// cacheBudget bounds the bases that one Reader holds.
const cacheBudget = 16 << 20

// Reader reads objects of a Pack. It is not safe for concurrent use; a Pack
// may have many.
type Reader struct {
	p     *Pack
	win   window
	inf   *inflater
	ins   []byte            // instructions of the delta at hand
	own   map[uint32][]byte // kept while the pack is resolved
	cache map[uint32][]byte
	order []uint32
	held  int64
	// budget bounds the cache.
	budget int64
	built  int64 // bytes of all objects that were inflated or put together
}

// NewReader returns a Reader.
func (p *Pack) NewReader() *Reader {
	return &Reader{p: p, inf: newInflater(), win: window{r: p.file}, cache: map[uint32][]byte{}, own: map[uint32][]byte{}, budget: cacheBudget}
}

// Get returns the whole object i. The bytes must not be changed.
func (r *Reader) Get(i int) ([]byte, error) {
	var chain []int
	at := i
	var data []byte
	for {
		e := &r.p.entries[at]
		if b, ok := r.stored(uint32(at)); ok {
			data = b
			break
		}
		if e.base == -1 {
			b, err := r.plain(e)
			if err != nil {
				return nil, err
			}
			data = b
			r.built += int64(len(b))
			if len(chain) > 0 {
				r.remember(uint32(at), b)
			}
			break
		}
		chain = append(chain, at)
		if e.base == external {
			_, b, err := r.p.base(r.p.extern[uint32(at)])
			if err != nil {
				return nil, err
			}
			data = b
			break
		}
		at = int(e.base)
	}
	for n := len(chain) - 1; n >= 0; n-- {
		e := &r.p.entries[chain[n]]
		delta, err := r.delta(e)
		if err != nil {
			return nil, err
		}
		if data, err = apply(data, delta, e.off); err != nil {
			return nil, err
		}
		r.built += int64(len(delta) + len(data))
		if n > 0 {
			r.remember(uint32(chain[n]), data)
		}
	}
	return data, nil
}

func (r *Reader) stored(i uint32) ([]byte, bool) {
	if b, ok := r.p.kept[i]; ok {
		return b, true
	}
	if b, ok := r.own[i]; ok {
		return b, true
	}
	b, ok := r.cache[i]
	return b, ok
}

// remember caches a base; the oldest go first.
func (r *Reader) remember(i uint32, b []byte) {
	if int64(len(b)) > r.budget/4 {
		return
	}
	if _, ok := r.cache[i]; ok {
		return
	}
	r.cache[i] = b
	r.order = append(r.order, i)
	r.held += int64(len(b))
	for r.held > r.budget {
		r.held -= int64(len(r.cache[r.order[0]]))
		delete(r.cache, r.order[0])
		r.order = r.order[1:]
	}
}

func (r *Reader) plain(e *entry) ([]byte, error) {
	r.win.seek(e.data)
	return r.inf.whole(&r.win, e.size, make([]byte, 0, e.size), e.off)
}

// delta inflates the instructions of a delta; valid until the next call.
func (r *Reader) delta(e *entry) ([]byte, error) {
	r.win.seek(e.off)
	size, err := r.win.headerSize()
	if err != nil {
		return nil, err
	}
	r.win.seek(e.data)
	r.ins, err = r.inf.whole(&r.win, size, r.ins[:0], e.off)
	return r.ins, err
}

// WriteTo writes the whole object i to w, streaming it when it is stored whole.
func (r *Reader) WriteTo(i int, w io.Writer) error {
	e := &r.p.entries[i]
	if e.base == -1 {
		if b, ok := r.p.kept[uint32(i)]; ok {
			_, err := w.Write(b)
			return err
		}
		r.win.seek(e.data)
		return r.inf.stream(&r.win, e.size, w, e.off)
	}
	b, err := r.Get(i)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// Object returns an object by id.
func (r *Reader) Object(id driver.Hash) (driver.Type, []byte, error) {
	i, ok := r.p.Find(id)
	if !ok {
		return 0, nil, fmt.Errorf("object %s: %w", id, driver.ErrObjectNotFound)
	}
	b, err := r.Get(i)
	return r.p.entries[i].typ, b, err
}

// window reads a file through a buffer that survives seeks inside it. It reads
// little after a jump and more the longer reading goes on from there.
type window struct {
	r    io.ReaderAt
	buf  []byte
	off  int64 // of buf[0]
	pos  int
	fill int
	step int // how much the next read is
}

const (
	windowSize = 256 << 10
	windowStep = 8 << 10
)

// peek implements buffered. A zlib stream of need bytes is hardly longer than
// they are, whatever they are; what is at hand is made to reach that far.
func (w *window) peek(need int) []byte {
	need = min(need+need>>8+64, windowSize)
	if w.fill-w.pos < need {
		off := w.off + int64(w.pos)
		w.off, w.pos, w.fill = off, 0, 0
		if w.read(need) != nil {
			w.off, w.fill = off, 0
			return nil
		}
	}
	return w.buf[w.pos:w.fill]
}

// skip implements buffered.
func (w *window) skip(n int) { w.pos += n }

func (w *window) seek(off int64) {
	if off >= w.off && off < w.off+int64(w.fill) {
		w.pos = int(off - w.off)
		return
	}
	if end := w.off + int64(w.fill); off < end || off > end+int64(w.step) {
		w.step = 0
	}
	w.off, w.pos, w.fill = off, 0, 0
}

func (w *window) more() error {
	w.off += int64(w.fill)
	w.pos, w.fill = 0, 0
	return w.read(0)
}

// read fills the empty window, with at least need bytes where there are.
func (w *window) read(need int) error {
	w.step = min(max(2*w.step, windowStep), windowSize)
	if want := max(w.step, need); len(w.buf) < want {
		w.buf = make([]byte, min(2*want, windowSize))
	}
	n, err := w.r.ReadAt(w.buf[:max(w.step, need)], w.off)
	w.fill = n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// ReadByte implements io.ByteReader.
func (w *window) ReadByte() (byte, error) {
	if w.pos >= w.fill {
		if err := w.more(); err != nil {
			return 0, err
		}
	}
	c := w.buf[w.pos]
	w.pos++
	return c, nil
}

// Read implements io.Reader.
func (w *window) Read(b []byte) (int, error) {
	if w.pos >= w.fill {
		if err := w.more(); err != nil {
			return 0, err
		}
	}
	n := copy(b, w.buf[w.pos:w.fill])
	w.pos += n
	return n, nil
}

// headerSize reads the size in an entry's header.
func (w *window) headerSize() (int64, error) {
	c, err := w.ReadByte()
	if err != nil {
		return 0, err
	}
	u := int64(c & 15)
	for shift := 4; c&0x80 != 0; shift += 7 {
		if c, err = w.ReadByte(); err != nil {
			return 0, err
		}
		u |= int64(c&0x7f) << shift
	}
	if u < 0 {
		return 0, errors.New("size of a delta overflows")
	}
	return u, nil
}

// Open returns a reader of the whole object i. It is valid until the next call
// on r.
func (r *Reader) Open(i int) (io.ReadCloser, error) {
	e := &r.p.entries[i]
	b, kept := r.p.kept[uint32(i)]
	if e.base != -1 && !kept {
		var err error
		if b, err = r.Get(i); err != nil {
			return nil, err
		}
		kept = true
	}
	if kept {
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	r.win.seek(e.data)
	if e.size <= smallObject {
		b, err := r.inf.whole(&r.win, e.size, r.inf.scratch(e.size)[:0], e.off)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	if err := r.inf.open(&r.win, e.off); err != nil {
		return nil, err
	}
	return &object{inf: r.inf, left: e.size, off: e.off}, nil
}

// object reads one inflating object.
type object struct {
	inf  *inflater
	left int64
	off  int64
}

// Read implements io.Reader.
func (o *object) Read(b []byte) (int, error) {
	if o.left == 0 {
		return 0, io.EOF
	}
	n, err := o.inf.z.Read(b[:min(int64(len(b)), o.left)])
	o.left -= int64(n)
	switch {
	case o.left == 0:
		err = nil
		if n == 0 {
			err = io.EOF
		}
	case errors.Is(err, io.EOF):
		err = malformed(o.off, "object shorter than declared")
	case err != nil:
		err = inflateError(err, o.off)
	}
	return n, err
}

// Close implements io.Closer.
func (o *object) Close() error { return nil }
