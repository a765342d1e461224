// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
)

var indexMagic = []byte{0xff, 't', 'O', 'c', 0, 0, 0, 2} //nolint:gochecknoglobals // a table that never changes

// WriteIndex writes the index of the pack, version 2.
func (p *Pack) WriteIndex(w io.Writer) error {
	order := make([]uint32, 0, p.n)
	for i := range p.n {
		if j, _ := p.Find(p.ID(i)); j == i { // an object that is there twice is indexed once
			order = append(order, uint32(i))
		}
	}
	slices.SortFunc(order, func(a, b uint32) int { return bytes.Compare(p.id(int(a)), p.id(int(b))) })
	sums, err := p.checksums()
	if err != nil {
		return err
	}
	h := newSum(p.format)
	out := bufio.NewWriterSize(io.MultiWriter(w, h), 64<<10)
	var b [8]byte
	put32 := func(v uint32) { binary.BigEndian.PutUint32(b[:], v); _, _ = out.Write(b[:4]) }
	_, _ = out.Write(indexMagic)
	n := 0
	for f := range 256 {
		for n < len(order) && int(p.id(int(order[n]))[0]) <= f {
			n++
		}
		put32(uint32(n))
	}
	for _, i := range order {
		_, _ = out.Write(p.id(int(i)))
	}
	for _, i := range order {
		put32(sums[i])
	}
	var large []uint64
	for _, i := range order {
		off := p.rec(int(i)).off()
		if off < 1<<31 {
			put32(uint32(off))
			continue
		}
		put32(1<<31 | uint32(len(large)))
		large = append(large, uint64(off))
	}
	for _, off := range large {
		binary.BigEndian.PutUint64(b[:], off)
		_, _ = out.Write(b[:])
	}
	_, _ = out.Write(p.sum.Bytes())
	if err := out.Flush(); err != nil {
		return err
	}
	_, err = w.Write(h.Sum(nil))
	return err
}

// checksums computes the CRC of every entry's bytes in one pass over the file.
func (p *Pack) checksums() ([]uint32, error) {
	out := make([]uint32, p.n)
	r := bufio.NewReaderSize(io.NewSectionReader(p.file, 12, p.size-12), 128<<10)
	buf := make([]byte, 32<<10)
	for i := range out {
		end := p.size - int64(p.format.Size())
		if i+1 < p.n {
			end = p.rec(i + 1).off()
		}
		c := crc32.NewIEEE()
		if _, err := io.CopyBuffer(c, io.LimitReader(r, end-p.rec(i).off()), buf); err != nil {
			return nil, err
		}
		out[i] = c.Sum32()
	}
	return out, nil
}

// Indexed is a pack on disk with its index. It is safe for concurrent use.
type Indexed struct {
	file    *os.File
	format  driver.Format
	fan     [256]uint32
	ids     []byte
	offs    []byte
	large   []byte
	size    int64
	readers chan *indexedReader
}

type indexedReader struct {
	win window
	inf *inflater
}

// ErrIndex reports an index that does not fit its pack.
var ErrIndex = errors.New("pack index does not fit")

// OpenIndexed opens a pack and checks that the index is whole and the pack's.
func OpenIndexed(packName, indexName string, f driver.Format) (*Indexed, error) {
	raw, err := os.ReadFile(indexName) //nolint:gosec // a name this process made
	if err != nil {
		return nil, err
	}
	x := &Indexed{format: f, readers: make(chan *indexedReader, 8)}
	packSum, err := x.parse(raw)
	if err != nil {
		return nil, err
	}
	if x.file, err = os.Open(packName); err != nil { //nolint:gosec // a name this process made
		return nil, err
	}
	st, err := x.file.Stat()
	if err == nil {
		x.size = st.Size()
		sum := make([]byte, f.Size())
		if x.size < int64(12+f.Size()) {
			err = ErrIndex
		} else if _, err = x.file.ReadAt(sum, x.size-int64(len(sum))); err == nil && !bytes.Equal(sum, packSum) {
			err = ErrIndex
		}
	}
	if err != nil {
		return nil, errors.Join(err, x.file.Close())
	}
	return x, nil
}

func (x *Indexed) parse(raw []byte) (packSum []byte, err error) {
	size := x.format.Size()
	if len(raw) < 8+1024+2*size || !bytes.Equal(raw[:8], indexMagic) {
		return nil, ErrIndex
	}
	h := newSum(x.format)
	_, _ = h.Write(raw[:len(raw)-size])
	if !bytes.Equal(h.Sum(nil), raw[len(raw)-size:]) {
		return nil, ErrIndex
	}
	for i := range x.fan {
		x.fan[i] = binary.BigEndian.Uint32(raw[8+4*i:])
		if i > 0 && x.fan[i] < x.fan[i-1] {
			return nil, ErrIndex
		}
	}
	n := int(x.fan[255])
	rest := raw[8+1024 : len(raw)-2*size]
	if len(rest) < n*(size+8) {
		return nil, ErrIndex
	}
	x.ids = rest[:n*size]
	x.offs = rest[n*(size+4) : n*(size+8)]
	x.large = rest[n*(size+8):]
	return raw[len(raw)-2*size : len(raw)-size], nil
}

// Len is the number of objects.
func (x *Indexed) Len() int { return int(x.fan[255]) }

// Size is the length of the pack in bytes.
func (x *Indexed) Size() int64 { return x.size }

// ID returns the id at a position of the index.
func (x *Indexed) ID(i int) driver.Hash {
	h, _ := driver.NewHash(x.ids[i*x.format.Size() : (i+1)*x.format.Size()])
	return h
}

// Close closes the file.
func (x *Indexed) Close() error { return x.file.Close() }

// Find returns the offset of an object.
func (x *Indexed) Find(id driver.Hash) (int64, bool) {
	if id.Format() != x.format {
		return 0, false
	}
	var key [32]byte
	want := id.AppendBytes(key[:0])
	size := len(want)
	lo, hi := 0, int(x.fan[id.First()])
	if id.First() > 0 {
		lo = int(x.fan[id.First()-1])
	}
	for lo < hi {
		mid := (lo + hi) / 2
		switch c := bytes.Compare(x.ids[mid*size:(mid+1)*size], want); {
		case c == 0:
			return x.offset(mid)
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

func (x *Indexed) offset(i int) (int64, bool) {
	off := binary.BigEndian.Uint32(x.offs[4*i:])
	if off < 1<<31 {
		return int64(off), true
	}
	at := int(off&^(1<<31)) * 8
	if at+8 > len(x.large) {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(x.large[at:])), true //nolint:gosec // compared with the size on use
}

// ReadLimits bound a read from an indexed pack.
type ReadLimits struct{ Object, DeltaDepth int64 }

// Read returns the object at an offset, whole.
func (x *Indexed) Read(off int64, lim ReadLimits) (driver.Type, []byte, error) {
	var r *indexedReader
	select {
	case r = <-x.readers:
	default:
		r = &indexedReader{win: window{r: x.file}, inf: newInflater()}
	}
	typ, b, err := x.read(r, off, lim)
	select {
	case x.readers <- r:
	default:
	}
	return typ, b, err
}

func (x *Indexed) read(r *indexedReader, off int64, lim ReadLimits) (driver.Type, []byte, error) {
	type link struct{ off, data, size int64 }
	var chain []link
	for {
		if off < 12 || off >= x.size {
			return 0, nil, malformed(off, "offset outside the pack")
		}
		r.win.seek(off)
		kind, size, base, err := x.head(r, off)
		if err != nil {
			return 0, nil, err
		}
		if err := limits.Check("git-object", lim.Object, size); err != nil {
			return 0, nil, err
		}
		data := r.win.off + int64(r.win.pos)
		if kind != kindOfs && kind != kindRef {
			b, err := r.inf.whole(&r.win, size, make([]byte, 0, size), off)
			if err != nil {
				return 0, nil, err
			}
			for n := len(chain) - 1; n >= 0; n-- {
				if b, err = x.step(r, chain[n].data, chain[n].size, chain[n].off, b, lim); err != nil {
					return 0, nil, err
				}
			}
			return driver.Type(kind), b, nil
		}
		chain = append(chain, link{off, data, size})
		if err := limits.Check("git-delta-depth", lim.DeltaDepth, int64(len(chain))); err != nil {
			return 0, nil, err
		}
		off = base
	}
}

// step applies one delta.
func (x *Indexed) step(r *indexedReader, data, size, off int64, base []byte, lim ReadLimits) ([]byte, error) {
	r.win.seek(data)
	ins, err := r.inf.whole(&r.win, size, nil, off)
	if err != nil {
		return nil, err
	}
	_, n := varint(ins)
	result, m := varint(ins[n:])
	if n == 0 || m == 0 || result > 1<<62 {
		return nil, malformed(off, "delta without sizes")
	}
	if err := limits.Check("git-object", lim.Object, int64(result)); err != nil {
		return nil, err
	}
	return apply(nil, base, ins, off)
}

// head reads an entry's header; base is the offset of a delta's base.
func (x *Indexed) head(r *indexedReader, off int64) (kind uint8, size, base int64, err error) {
	c, err := r.win.ReadByte()
	if err != nil {
		return 0, 0, 0, cut(err, off)
	}
	kind, size = c>>4&7, int64(c&15)
	for shift := 4; c&0x80 != 0; shift += 7 {
		if c, err = r.win.ReadByte(); err != nil {
			return 0, 0, 0, cut(err, off)
		}
		if size |= int64(c&0x7f) << shift; shift > 60 || size < 0 {
			return 0, 0, 0, malformed(off, "size too long")
		}
	}
	switch kind {
	case 0, 5:
		return 0, 0, 0, malformed(off, "unknown type %d", kind)
	case kindOfs:
		back, err := distance(&r.win, off)
		return kind, size, off - back, err
	case kindRef:
		raw := make([]byte, x.format.Size())
		if _, err := io.ReadFull(&r.win, raw); err != nil {
			return 0, 0, 0, cut(err, off)
		}
		id, err := driver.NewHash(raw)
		if err != nil {
			return 0, 0, 0, err
		}
		base, ok := x.Find(id)
		if !ok {
			return 0, 0, 0, fmt.Errorf("delta base %s: %w", id, driver.ErrMalformedPack)
		}
		return kind, size, base, nil
	}
	return kind, size, 0, nil
}

// Stat returns type and size of the object at an offset without building it.
func (x *Indexed) Stat(off int64, lim ReadLimits) (driver.Type, int64, error) {
	var r *indexedReader
	select {
	case r = <-x.readers:
	default:
		r = &indexedReader{win: window{r: x.file}, inf: newInflater()}
	}
	t, n, err := x.stat(r, off, lim)
	select {
	case x.readers <- r:
	default:
	}
	return t, n, err
}

func (x *Indexed) stat(r *indexedReader, off int64, lim ReadLimits) (driver.Type, int64, error) {
	result := int64(-1)
	for depth := int64(0); ; depth++ {
		if err := limits.Check("git-delta-depth", lim.DeltaDepth, depth); err != nil {
			return 0, 0, err
		}
		if off < 12 || off >= x.size {
			return 0, 0, malformed(off, "offset outside the pack")
		}
		r.win.seek(off)
		kind, size, base, err := x.head(r, off)
		if err != nil {
			return 0, 0, err
		}
		if kind != kindOfs && kind != kindRef {
			if result < 0 {
				result = size
			}
			return driver.Type(kind), result, nil
		}
		if result < 0 {
			if result, err = r.inf.resultSize(&r.win, off); err != nil {
				return 0, 0, err
			}
		}
		off = base
	}
}
