// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/gitops-kit/sdk/git/driver"
)

// Reader reads objects of a Pack. It is not safe for concurrent use; a Pack
// may have many, which share a cache of bases.
type Reader struct {
	p     *Pack
	win   window
	inf   *inflater
	ins   []byte // instructions of the delta at hand
	out   []byte // the object at hand
	chain []int
	patch patcher
	built int64 // bytes that were inflated or put together
}

// NewReader returns a Reader.
func (p *Pack) NewReader() *Reader {
	return &Reader{p: p, inf: newInflater(), win: window{r: p.file}}
}

// Built is how many bytes were inflated or put together of objects and deltas.
func (r *Reader) Built() int64 { return r.built }

// Get returns the whole object i. The bytes must not be changed.
func (r *Reader) Get(i int) ([]byte, error) {
	b, err := r.body(i, nil)
	if err != nil || b.here() {
		return b.mem, err
	}
	whole := make([]byte, b.size)
	_, err = io.ReadFull(io.NewSectionReader(b.file, b.off, b.size), whole)
	return whole, err
}

// body finds or builds object i, in dst where there is room.
func (r *Reader) body(i int, dst []byte) (b body, err error) {
	r.chain = r.chain[:0]
	for at := i; ; {
		if b, ok := r.held(at); ok {
			return r.unwind(b, dst)
		}
		rec := r.p.rec(at)
		if rec.base == -1 {
			to := dst
			if len(r.chain) > 0 || int64(cap(dst)) < r.p.ObjectSize(at) {
				to = nil
			}
			if b, err = r.plain(at, to); err != nil {
				return b, err
			}
			if len(r.chain) > 0 {
				r.p.bases.put(uint32(at), b.mem) //nolint:gosec // an index
			}
			return r.unwind(b, dst)
		}
		r.chain = append(r.chain, at)
		if rec.base == external {
			id, err := r.p.baseID(at)
			if err != nil {
				return b, err
			}
			_, data, err := r.p.base(id)
			if err != nil {
				return b, err
			}
			return r.unwind(body{size: int64(len(data)), mem: data}, dst)
		}
		at = int(rec.base)
	}
}

// unwind applies the deltas of the chain, the last of them first.
func (r *Reader) unwind(b body, dst []byte) (body, error) {
	for n := len(r.chain) - 1; n >= 0; n-- {
		at := r.chain[n]
		to := dst
		if n > 0 {
			to = nil
		}
		data, err := r.step(at, &b, to)
		if err != nil {
			return b, err
		}
		b = body{size: int64(len(data)), mem: data}
		if n > 0 {
			r.p.bases.put(uint32(at), data) //nolint:gosec // an index
		}
	}
	return b, nil
}

// step builds one object from its base, in memory.
func (r *Reader) step(at int, base *body, dst []byte) ([]byte, error) {
	off, size := r.p.rec(at).off(), r.p.ObjectSize(at)
	n, err := r.instructions(at)
	if err != nil {
		return nil, err
	}
	r.built += n + size
	if base.here() && n <= largeObject {
		if r.ins, err = r.inf.whole(&r.win, n, r.ins[:0], off); err != nil {
			return nil, err
		}
		return apply(dst[:0], base.mem, r.ins, off)
	}
	if int64(cap(dst)) < size {
		dst = make([]byte, 0, min(size, largeObject))
	}
	w := appender{dst[:0]}
	err = r.stream(&w, base, n, off)
	return w.b, err
}

// instructions goes to the instructions of a delta and returns their length.
func (r *Reader) instructions(at int) (int64, error) {
	rec := r.p.rec(at)
	r.win.seek(rec.off())
	n, err := r.win.headerSize()
	if err != nil {
		return 0, err
	}
	r.win.seek(rec.data())
	return n, nil
}

// stream applies the n bytes of instructions at hand, piece by piece.
func (r *Reader) stream(w io.Writer, base *body, n, off int64) error {
	if err := r.inf.open(&r.win, off); err != nil {
		return err
	}
	in := bufio.NewReaderSize(&object{inf: r.inf, left: n, off: off}, 4<<10)
	return r.patch.patch(w, base, in, n, off)
}

// appender is a Writer of bytes.
type appender struct{ b []byte }

// Write implements io.Writer.
func (a *appender) Write(b []byte) (int, error) {
	a.b = append(a.b, b...)
	return len(b), nil
}

// held finds a copy of object i.
func (r *Reader) held(i int) (body, bool) {
	p := r.p
	if p.shelf != nil {
		if loc := p.loc(i); loc != 0 {
			return p.shelf.get(loc, p.ObjectSize(i)), true
		}
	}
	data, ok := p.bases.get(uint32(i)) //nolint:gosec // an index
	return body{size: int64(len(data)), mem: data}, ok
}

// plain inflates an object that is stored whole.
func (r *Reader) plain(i int, dst []byte) (body, error) {
	rec, size := r.p.rec(i), r.p.ObjectSize(i)
	r.win.seek(rec.data())
	if int64(cap(dst)) < size {
		dst = make([]byte, 0, size)
	}
	r.built += size
	b, err := r.inf.whole(&r.win, size, dst[:0], rec.off())
	return body{size: size, mem: b}, err
}

// WriteTo writes the whole object i to w, streaming it when it is stored whole.
func (r *Reader) WriteTo(i int, w io.Writer) error {
	if b, ok := r.here(i); ok {
		return r.copy(w, b)
	}
	rec := r.p.rec(i)
	if rec.base == -1 {
		r.win.seek(rec.data())
		r.built += r.p.ObjectSize(i)
		return r.inf.stream(&r.win, r.p.ObjectSize(i), w, rec.off())
	}
	b, err := r.build(i)
	if err != nil {
		return err
	}
	return r.copy(w, b)
}

// here is held for an object that is not a base at the moment: it need not be
// looked for in the cache when it is stored whole.
func (r *Reader) here(i int) (body, bool) {
	if r.p.rec(i).base == -1 && (r.p.shelf == nil || r.p.loc(i) == 0) {
		return body{}, false
	}
	return r.held(i)
}

// build is body into a buffer that is used again with the next call.
func (r *Reader) build(i int) (body, error) {
	if size := r.p.ObjectSize(i); int64(cap(r.out)) < size && size <= largeObject {
		r.out = make([]byte, 0, max(size+size/4, 16<<10))
	}
	return r.body(i, r.out[:0])
}

func (r *Reader) copy(w io.Writer, b body) error {
	if b.here() {
		_, err := w.Write(b.mem)
		return err
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(b.file, b.off, b.size), r.inf.buf)
	return err
}

// Object returns an object by id.
func (r *Reader) Object(id driver.Hash) (driver.Type, []byte, error) {
	i, ok := r.p.Find(id)
	if !ok {
		return 0, nil, fmt.Errorf("object %s: %w", id, driver.ErrObjectNotFound)
	}
	b, err := r.Get(i)
	return r.p.Type(i), b, err
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
	b, ok := r.here(i)
	rec, size := r.p.rec(i), r.p.ObjectSize(i)
	switch {
	case ok:
	case rec.base != -1 || size <= smallObject:
		var err error
		if b, err = r.build(i); err != nil {
			return nil, err
		}
	default:
		r.win.seek(rec.data())
		r.built += size
		if err := r.inf.open(&r.win, rec.off()); err != nil {
			return nil, err
		}
		return &object{inf: r.inf, left: size, off: rec.off()}, nil
	}
	if b.here() {
		return io.NopCloser(bytes.NewReader(b.mem)), nil
	}
	return io.NopCloser(io.NewSectionReader(b.file, b.off, b.size)), nil
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
