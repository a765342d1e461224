// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash"
	"io"

	"github.com/klauspost/compress/zlib"

	"github.com/gitops-kit/sdk/git/driver"
)

// Writer writes a pack of whole objects. The number of objects is fixed at the
// beginning.
type Writer struct {
	w    io.Writer
	sum  hash.Hash
	z    *zlib.Writer
	n    int64
	left uint32
	head []byte
}

// NewWriter begins a pack of n objects.
func NewWriter(w io.Writer, f driver.Format, n uint32) (*Writer, error) {
	p := &Writer{sum: newSum(f), left: n}
	p.w = io.MultiWriter(w, p.sum)
	head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), n)
	return p, p.raw(head)
}

func (p *Writer) raw(b []byte) error {
	n, err := p.w.Write(b)
	p.n += int64(n)
	return err
}

// Write implements io.Writer for the compressor.
type packBytes struct{ p *Writer }

func (b packBytes) Write(d []byte) (int, error) { return len(d), b.p.raw(d) }

// Add writes one object.
func (p *Writer) Add(t driver.Type, body []byte) error {
	if p.left == 0 {
		return errors.New("more objects than announced")
	}
	p.left--
	p.head = appendHeader(p.head[:0], uint8(t), int64(len(body)))
	if err := p.raw(p.head); err != nil {
		return err
	}
	if p.z == nil {
		p.z = zlib.NewWriter(packBytes{p})
	} else {
		p.z.Reset(packBytes{p})
	}
	if _, err := p.z.Write(body); err != nil {
		return err
	}
	return p.z.Close()
}

// Close writes the trailer and returns the length.
func (p *Writer) Close() (int64, error) {
	if p.left != 0 {
		return p.n, errors.New("fewer objects than announced")
	}
	sum := p.sum.Sum(nil)
	return p.n + int64(len(sum)), p.raw(sum)
}

func appendHeader(b []byte, kind uint8, size int64) []byte {
	c := kind<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		b = append(b, c|0x80)
		c = byte(size & 0x7f)
	}
	return append(b, c)
}

// Complete appends the bases of a thin pack to it, so that it stands alone,
// and corrects header and trailer. The file must be the only copy.
func (p *Pack) Complete() error {
	ids, err := p.Externals()
	if err != nil || len(ids) == 0 {
		return err
	}
	at := p.size - int64(p.format.Size())
	added := map[driver.Hash]int32{}
	var buf bytes.Buffer
	z := zlib.NewWriter(&buf)
	for _, id := range ids {
		typ, body, err := p.base(id)
		if err != nil {
			return err
		}
		buf.Reset()
		z.Reset(&buf)
		if _, err := z.Write(body); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		head := appendHeader(nil, uint8(typ), int64(len(body)))
		n := p.add(entry{off: at, data: at + int64(len(head)), size: int64(len(body)), base: -1, typ: typ, kind: uint8(typ)}, 0)
		p.setID(n, id)
		added[id] = int32(n) //nolint:gosec // bounded by the limit on objects
		if _, err := p.file.WriteAt(append(head, buf.Bytes()...), at); err != nil {
			return err
		}
		at += int64(len(head) + buf.Len())
	}
	for i := range p.n {
		if r := p.rec(i); r.base == external {
			id, err := p.baseID(i)
			if err != nil {
				return err
			}
			r.base = added[id]
		}
	}
	p.thin = 0
	return p.seal(at)
}

// seal rewrites count and trailer of a pack whose objects end at end.
func (p *Pack) seal(end int64) error {
	if _, err := p.file.WriteAt(binary.BigEndian.AppendUint32(nil, uint32(p.n)), 8); err != nil { //nolint:gosec // bounded
		return err
	}
	h := newSum(p.format)
	if _, err := io.Copy(h, io.NewSectionReader(p.file, 0, end)); err != nil {
		return err
	}
	sum := h.Sum(nil)
	if _, err := p.file.WriteAt(sum, end); err != nil {
		return err
	}
	p.size = end + int64(len(sum))
	p.buildTable()
	var err error
	p.sum, err = driver.NewHash(sum)
	return errors.Join(err, p.file.Truncate(p.size))
}

// Path is the name of the file, empty when it has none.
func (p *Pack) Path() string { return p.path }

// Keep leaves the file where it is when the pack is closed.
func (p *Pack) Keep() { p.path = "" }
