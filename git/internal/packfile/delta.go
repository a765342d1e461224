// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"errors"
	"io"
)

// leastDelta is two sizes and the shortest instruction that gives anything;
// git takes nothing shorter.
const leastDelta = 4

// apply builds an object from its base and the instructions of a delta. It
// appends to dst, which has room for what it declares, or is nil.
func apply(dst, base, delta []byte, off int64) ([]byte, error) {
	if len(delta) < leastDelta {
		return nil, malformed(off, "delta without an instruction")
	}
	from, n := varint(delta)
	if n == 0 || from != uint64(len(base)) {
		return nil, malformed(off, "delta for a base of another size")
	}
	delta = delta[n:]
	size, n := varint(delta)
	if n == 0 {
		return nil, malformed(off, "delta without result size")
	}
	delta = delta[n:]
	if size > uint64(cap(dst)) {
		dst = make([]byte, 0, size)
	}
	for len(delta) > 0 {
		op := delta[0]
		delta = delta[1:]
		switch {
		case op&0x80 != 0:
			at, length, used := copyArgs(op, delta)
			if used < 0 || at+length > len(base) || uint64(len(dst)+length) > size {
				return nil, malformed(off, "delta copies outside its base")
			}
			delta = delta[used:]
			dst = append(dst, base[at:at+length]...)
		case op != 0:
			length := int(op)
			if length > len(delta) || uint64(len(dst)+length) > size {
				return nil, malformed(off, "delta inserts more than it has")
			}
			dst = append(dst, delta[:length]...)
			delta = delta[length:]
		default:
			return nil, malformed(off, "reserved delta instruction")
		}
	}
	if uint64(len(dst)) != size {
		return nil, malformed(off, "delta result of another size")
	}
	return dst, nil
}

// copyArgs reads offset and length of a copy instruction; used is -1 when
// they are cut off.
func copyArgs(op byte, b []byte) (at, length, used int) {
	for bit := range 7 {
		if op&(1<<bit) == 0 {
			continue
		}
		if used >= len(b) {
			return 0, 0, -1
		}
		if bit < 4 {
			at |= int(b[used]) << (8 * bit)
		} else {
			length |= int(b[used]) << (8 * (bit - 4))
		}
		used++
	}
	if length == 0 {
		length = 0x10000
	}
	return at, length, used
}

// patcher applies deltas piece by piece, where base, instructions or result
// are too large to be held.
type patcher struct {
	win  window // on one object in the file of the shelf
	from int64  // where that begins, plus one
	buf  []byte
}

// patch reads size bytes of instructions and writes the object to w.
func (p *patcher) patch(w io.Writer, base *body, ins source, size, off int64) error {
	if size < leastDelta {
		return malformed(off, "delta without an instruction")
	}
	if p.buf == nil {
		p.buf = make([]byte, 32<<10)
	}
	left := counted{ins, size}
	from, ok := left.varint()
	if !ok || from != uint64(base.size) { //nolint:gosec // never negative
		return malformed(off, "delta for a base of another size")
	}
	want, ok := left.varint()
	if !ok {
		return malformed(off, "delta without result size")
	}
	for left.n > 0 {
		op, err := left.ReadByte()
		if err != nil {
			return cut(err, off)
		}
		switch {
		case op&0x80 != 0:
			var args [7]byte
			n := 0
			for bit := range 7 {
				if op&(1<<bit) == 0 {
					continue
				}
				if args[n], err = left.ReadByte(); err != nil {
					return malformed(off, "delta copies outside its base")
				}
				n++
			}
			at, length, _ := copyArgs(op, args[:n])
			if int64(at)+int64(length) > base.size || uint64(length) > want { //nolint:gosec // never negative
				return malformed(off, "delta copies outside its base")
			}
			want -= uint64(length) //nolint:gosec // never negative
			if err := p.copy(w, base, int64(at), length); err != nil {
				return err
			}
		case op != 0:
			if int64(op) > left.n || uint64(op) > want {
				return malformed(off, "delta inserts more than it has")
			}
			want -= uint64(op)
			if _, err := io.ReadFull(left, p.buf[:op]); err != nil {
				return cut(err, off)
			}
			left.n -= int64(op)
			if _, err := w.Write(p.buf[:op]); err != nil {
				return err
			}
		default:
			return malformed(off, "reserved delta instruction")
		}
	}
	if want != 0 {
		return malformed(off, "delta result of another size")
	}
	return nil
}

func (p *patcher) copy(w io.Writer, base *body, at int64, length int) error {
	if base.here() {
		_, err := w.Write(base.mem[at : at+int64(length)])
		return err
	}
	if p.from != base.off+1 { // what is behind the object may not have been written yet
		p.win = window{r: io.NewSectionReader(base.file, base.off, base.size), buf: p.win.buf}
		p.from = base.off + 1
	}
	p.win.seek(at)
	for length > 0 {
		n := min(length, len(p.buf))
		if _, err := io.ReadFull(&p.win, p.buf[:n]); err != nil {
			return err
		}
		if _, err := w.Write(p.buf[:n]); err != nil {
			return err
		}
		length -= n
	}
	return nil
}

// counted is a source of which n bytes belong to a delta; who calls Read counts.
type counted struct {
	source
	n int64
}

// ReadByte implements io.ByteReader.
func (c *counted) ReadByte() (byte, error) {
	if c.n == 0 {
		return 0, io.EOF
	}
	c.n--
	b, err := c.source.ReadByte()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// varint is as the function of that name; false when it is cut off or too long.
func (c *counted) varint() (v uint64, ok bool) {
	for shift := 0; shift < 63; shift += 7 {
		b, err := c.ReadByte()
		if err != nil {
			return 0, false
		}
		v |= uint64(b&0x7f) << shift
		if b&0x80 == 0 {
			return v, true
		}
	}
	return 0, false
}
