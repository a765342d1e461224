// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

// writePack writes a pack of the objects without deltas.
func writePack(w io.Writer, st *store, objs []packed) error {
	h := st.format.new()
	cw := &countWriter{w: io.MultiWriter(w, h)}
	packHeader(cw, len(objs))
	for _, p := range objs {
		o := st.raw(p.id)
		if o == nil {
			return fmt.Errorf("object %q: %w", p.id, ErrNotFound)
		}
		_, _ = cw.Write(entryHeader(int(o.typ), o.size))
		if _, err := cw.Write(o.z); err != nil {
			return err
		}
	}
	_, err := w.Write(h.Sum(nil))
	return err
}

// packHeader writes the first twelve bytes of a pack.
func packHeader(w io.Writer, count int) {
	var head [12]byte
	copy(head[:], "PACK")
	binary.BigEndian.PutUint32(head[4:], 2)
	binary.BigEndian.PutUint32(head[8:], uint32(count))
	_, _ = w.Write(head[:])
}

// entryHeader encodes the type and size of a pack entry.
func entryHeader(typ int, size int64) []byte {
	b := byte(typ<<4) | byte(size&0x0f)
	size >>= 4
	var out []byte
	for size > 0 {
		out = append(out, b|0x80)
		b = byte(size & 0x7f)
		size >>= 7
	}
	return append(out, b)
}

type countWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (c *countWriter) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.err = err
	return n, err
}

var errPack = errors.New("malformed pack")

const (
	ofsDelta = 6
	refDelta = 7
	// maxObject bounds an object somebody pushes to a test server.
	maxObject = 1 << 30
)

// packReader counts and hashes what is consumed from a buffered reader; flate
// reads it byte by byte, so nothing is read too far.
type packReader struct {
	r    *bufio.Reader
	h    hash.Hash
	n    int64
	hold []byte
}

func (p *packReader) settle() {
	if len(p.hold) > 0 {
		p.h.Write(p.hold)
		p.hold = p.hold[:0]
	}
}

func (p *packReader) ReadByte() (byte, error) {
	b, err := p.r.ReadByte()
	if err == nil {
		p.n++
		if p.hold = append(p.hold, b); len(p.hold) >= 4096 {
			p.settle()
		}
	}
	return b, err
}

func (p *packReader) Read(d []byte) (int, error) {
	n, err := p.r.Read(d)
	p.settle()
	p.h.Write(d[:n])
	p.n += int64(n)
	return n, err
}

type pending struct {
	offset  int64
	baseOfs int64
	baseID  Hash
	delta   []byte
}

// readPack stores the objects of a pack in st, with deltas resolved. The
// thin pack's bases come from st's parent.
func readPack(r *bufio.Reader, st *store) error {
	p := &packReader{r: r, h: st.format.new()}
	var head [12]byte
	if _, err := io.ReadFull(p, head[:]); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if string(head[:4]) != "PACK" || binary.BigEndian.Uint32(head[4:]) != 2 {
		return fmt.Errorf("header: %w", errPack)
	}
	count := int(binary.BigEndian.Uint32(head[8:]))
	at := map[int64]Hash{}
	var open []pending
	for range count {
		pd, err := readEntry(p, st, at)
		if err != nil {
			return err
		}
		if pd != nil {
			open = append(open, *pd)
		}
	}
	p.settle()
	want := p.h.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		return fmt.Errorf("trailer: %w", err)
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("trailer: %w", errPack)
	}
	return resolveDeltas(st, at, open)
}

func readEntry(p *packReader, st *store, at map[int64]Hash) (*pending, error) {
	offset := p.n
	b, err := p.ReadByte()
	if err != nil {
		return nil, fmt.Errorf("entry: %w", err)
	}
	typ, size, shift := int(b>>4)&7, int64(b&0x0f), 4
	for b&0x80 != 0 {
		if b, err = p.ReadByte(); err != nil || shift > 56 {
			return nil, fmt.Errorf("entry size: %w", errPack)
		}
		size |= int64(b&0x7f) << shift
		shift += 7
	}
	if size > maxObject {
		return nil, fmt.Errorf("object of %d bytes: %w", size, errPack)
	}
	pd := &pending{offset: offset}
	switch typ {
	case ofsDelta:
		ofs, err := readOffset(p)
		if err != nil {
			return nil, err
		}
		pd.baseOfs = offset - ofs
	case refDelta:
		raw := make([]byte, st.format.size())
		if _, err := io.ReadFull(p, raw); err != nil {
			return nil, fmt.Errorf("delta base: %w", err)
		}
		pd.baseID = Hash(fmt.Sprintf("%x", raw))
	case 1, 2, 3, 4:
	default:
		return nil, fmt.Errorf("entry type %d: %w", typ, errPack)
	}
	data, err := inflateN(p, size)
	if err != nil {
		return nil, err
	}
	if typ < ofsDelta {
		at[offset] = st.put(Type(typ), data)
		return nil, nil
	}
	pd.delta = data
	return pd, nil
}

func readOffset(p *packReader) (int64, error) {
	b, err := p.ReadByte()
	if err != nil {
		return 0, fmt.Errorf("delta offset: %w", err)
	}
	ofs := int64(b & 0x7f)
	for b&0x80 != 0 {
		if b, err = p.ReadByte(); err != nil {
			return 0, fmt.Errorf("delta offset: %w", err)
		}
		ofs = (ofs+1)<<7 | int64(b&0x7f)
	}
	return ofs, nil
}

func inflateN(r io.Reader, size int64) ([]byte, error) {
	z, err := zlib.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("inflate: %w", err)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(z, size+1)); err != nil {
		return nil, fmt.Errorf("inflate: %w", err)
	}
	if int64(b.Len()) != size {
		return nil, fmt.Errorf("object has not the declared size %d: %w", size, errPack)
	}
	return b.Bytes(), nil
}

// resolveDeltas applies deltas until none is left or none can be applied.
func resolveDeltas(st *store, at map[int64]Hash, open []pending) error {
	for len(open) > 0 {
		var rest []pending
		for _, pd := range open {
			base := pd.baseID
			if base == "" {
				base = at[pd.baseOfs]
			}
			if base == "" || st.raw(base) == nil {
				rest = append(rest, pd)
				continue
			}
			t, data, err := st.get(base)
			if err != nil {
				return err
			}
			out, err := applyDelta(data, pd.delta)
			if err != nil {
				return err
			}
			at[pd.offset] = st.put(t, out)
		}
		if len(rest) == len(open) {
			return fmt.Errorf("%d deltas without base: %w", len(rest), errPack)
		}
		open = rest
	}
	return nil
}

func applyDelta(base, delta []byte) ([]byte, error) {
	bad := fmt.Errorf("delta: %w", errPack)
	src, n := binary.Uvarint(delta)
	if n <= 0 || src != uint64(len(base)) {
		return nil, bad
	}
	delta = delta[n:]
	size, n := binary.Uvarint(delta)
	if n <= 0 || size > maxObject {
		return nil, bad
	}
	delta = delta[n:]
	var out []byte
	for len(delta) > 0 {
		op := delta[0]
		delta = delta[1:]
		if op&0x80 == 0 {
			if op == 0 || int(op) > len(delta) {
				return nil, bad
			}
			out = append(out, delta[:op]...)
			delta = delta[op:]
			continue
		}
		var ofs, length int
		for i := range 7 {
			if op&(1<<i) == 0 {
				continue
			}
			if len(delta) == 0 {
				return nil, bad
			}
			if i < 4 {
				ofs |= int(delta[0]) << (8 * i)
			} else {
				length |= int(delta[0]) << (8 * (i - 4))
			}
			delta = delta[1:]
		}
		if length == 0 {
			length = 0x10000
		}
		if ofs+length > len(base) || uint64(len(out)+length) > size {
			return nil, bad
		}
		out = append(out, base[ofs:ofs+length]...)
	}
	if uint64(len(out)) != size {
		return nil, bad
	}
	return out, nil
}
