// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"encoding/binary"
	"errors"
	"hash/adler32"
	"math/bits"
)

// The objects of a pack say how long they are, and most are small. Inflating
// one from a slice into a slice of that length needs no state between calls and
// is several times as fast as a streaming decoder.

var (
	// errInput says that the slice ends before the stream does.
	errInput = errors.New("more input needed")
	// errCorrupt says that the stream is no zlib stream of the declared length.
	errCorrupt = errors.New("corrupt deflate stream")
)

const (
	litBits  = 10
	distBits = 8
	preBits  = 7
)

// A table entry: bits 0–4 are the length of the code, bits 5–7 the kind, bits
// 8–12 the number of extra bits (or the width of a sub-table), the upper half
// the literal, base or offset.
const (
	kindLit = iota
	kindBase
	kindEnd
	kindSub
	kindBad
)

// inflateTables is the state that is reused.
type inflateTables struct {
	lit   [1<<litBits + 1<<12]uint32
	dist  [1<<distBits + 1<<12]uint32
	lens  [320]uint8
	fixed bool // lit and dist hold the fixed codes
}

var lengthBase = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258} //nolint:gochecknoglobals // a table that never changes

var lengthExtra = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0} //nolint:gochecknoglobals // a table that never changes

var distBase = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577} //nolint:gochecknoglobals // a table that never changes

var distExtra = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13} //nolint:gochecknoglobals // a table that never changes

var preOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15} //nolint:gochecknoglobals // a table that never changes

// litEntry and distEntry are what a symbol means.
func litEntry(sym int) uint32 {
	switch {
	case sym < 256:
		return uint32(sym)<<16 | kindLit<<5
	case sym == 256:
		return kindEnd << 5
	case sym < 286:
		return uint32(lengthBase[sym-257])<<16 | uint32(lengthExtra[sym-257])<<8 | kindBase<<5
	}
	return kindBad << 5
}

func distEntry(sym int) uint32 {
	if sym < 30 {
		return uint32(distBase[sym])<<16 | uint32(distExtra[sym])<<8 | kindBase<<5
	}
	return kindBad << 5
}

func preEntry(sym int) uint32 { return uint32(sym) << 16 }

// build fills a table for the given code lengths; false when they are no
// prefix code. An incomplete code is accepted where deflate allows it: none or
// one code of one bit.
func build(table []uint32, width int, lens []uint8, meaning func(int) uint32) bool {
	var count [16]int
	for _, l := range lens {
		count[l]++
	}
	left, used := 1, 0
	for l := 1; l <= 15; l++ {
		left = left<<1 - count[l]
		used += count[l]
		if left < 0 {
			return false
		}
	}
	for i := range table[:1<<width] {
		table[i] = kindBad<<5 | 1
	}
	if left > 0 && (used > 1 || used == 1 && count[1] != 1) {
		return false
	}
	var next [16]int
	for l, code := 1, 0; l <= 15; l++ {
		code = (code + count[l-1]*min(l-1, 1)) << 1
		next[l] = code
	}
	free := 1 << width
	for sym, l := range lens {
		if l == 0 {
			continue
		}
		code := int(bits.Reverse16(uint16(next[l])) >> (16 - l)) //nolint:gosec // at most 15 bits
		next[l]++
		e := meaning(sym)
		if int(l) <= width {
			for i := code; i < 1<<width; i += 1 << l {
				table[i] = e | uint32(l)
			}
			continue
		}
		low := code & (1<<width - 1)
		if table[low]>>5&7 != kindSub {
			wide := 15 - width // room for the longest code
			if free+1<<wide > len(table) {
				return false
			}
			table[low] = uint32(free)<<16 | uint32(wide)<<8 | kindSub<<5 | uint32(width) //nolint:gosec // small
			for i := range table[free : free+1<<wide] {
				table[free+i] = kindBad<<5 | 1
			}
			free += 1 << wide
		}
		at, wide := int(table[low]>>16), int(table[low]>>8&31)
		for i := code >> width; i < 1<<wide; i += 1 << (int(l) - width) {
			table[at+i] = e | uint32(int(l)-width) //nolint:gosec // small
		}
	}
	return true
}

// bitReader reads a slice from its low bits on.
type bitReader struct {
	src  []byte
	pos  int
	buf  uint64
	n    uint // bits in buf
	over int  // bytes of zeros that were added behind the end
}

func (b *bitReader) refill() {
	if len(b.src)-b.pos >= 8 {
		b.buf |= binary.LittleEndian.Uint64(b.src[b.pos:]) << b.n
		b.pos += int(63-b.n) >> 3
		b.n |= 56
		return
	}
	for b.n <= 56 {
		if b.pos < len(b.src) {
			b.buf |= uint64(b.src[b.pos]) << b.n
			b.pos++
		} else {
			b.over++
		}
		b.n += 8
	}
}

// take returns n ≤ 32 bits, which must be there.
func (b *bitReader) take(n uint) uint32 {
	v := uint32(b.buf & (1<<n - 1)) //nolint:gosec // masked
	b.buf >>= n
	b.n -= n
	return v
}

// exhausted reports whether bits behind the end of the slice were used.
func (b *bitReader) exhausted() bool { return b.over*8 > int(b.n) } //nolint:gosec // at most 64

// inflate decodes one zlib stream from src into dst, which has the declared
// length, and returns how much of src it is.
func (t *inflateTables) inflate(dst, src []byte) (int, error) {
	if len(src) < 2 {
		return 0, errInput
	}
	if src[0]&15 != 8 || src[0]>>4 > 7 || (uint(src[0])<<8|uint(src[1]))%31 != 0 || src[1]&0x20 != 0 {
		return 0, errCorrupt
	}
	b := bitReader{src: src, pos: 2}
	out := 0
	for last := false; !last; {
		b.refill()
		last = b.take(1) == 1
		var err error
		switch b.take(2) {
		case 0:
			out, err = b.stored(dst, out)
		case 1:
			if err = t.fixedCodes(); err == nil {
				out, err = t.block(&b, dst, out)
			}
		case 2:
			if err = t.dynamicCodes(&b); err == nil {
				out, err = t.block(&b, dst, out)
			}
		default:
			err = errCorrupt
		}
		if b.exhausted() || err != nil && b.over > 0 {
			return 0, errInput // what looked corrupt may have been the padding
		}
		if err != nil {
			return 0, err
		}
	}
	if out != len(dst) {
		return 0, errCorrupt
	}
	end := b.pos - int(b.n>>3) + b.over //nolint:gosec // at most 8
	if end+4 > len(src) {
		return 0, errInput
	}
	if binary.BigEndian.Uint32(src[end:]) != adler32.Checksum(dst) {
		return 0, errCorrupt
	}
	return end + 4, nil
}

// stored copies a block that is not compressed.
func (b *bitReader) stored(dst []byte, out int) (int, error) {
	b.take(b.n & 7)
	at := b.pos - int(b.n>>3) + b.over //nolint:gosec // at most 8
	b.buf, b.n, b.over = 0, 0, 0
	if at+4 > len(b.src) {
		b.over = 1
		return out, errInput
	}
	n := int(binary.LittleEndian.Uint16(b.src[at:]))
	if n^0xffff != int(binary.LittleEndian.Uint16(b.src[at+2:])) {
		return out, errCorrupt
	}
	b.pos = at + 4
	if b.pos+n > len(b.src) {
		b.over = 1
		return out, errInput
	}
	if n > len(dst)-out {
		return out, errCorrupt
	}
	copy(dst[out:], b.src[b.pos:b.pos+n])
	b.pos += n
	return out + n, nil
}

func (t *inflateTables) fixedCodes() error {
	if t.fixed {
		return nil
	}
	l := t.lens[:288]
	for i := range l {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 8
		}
	}
	ok := build(t.lit[:], litBits, l, litEntry)
	for i := range 32 {
		t.lens[i] = 5
	}
	if !ok || !build(t.dist[:], distBits, t.lens[:32], distEntry) {
		return errCorrupt
	}
	t.fixed = true
	return nil
}

func (t *inflateTables) dynamicCodes(b *bitReader) error {
	t.fixed = false
	nlit, ndist, npre := int(b.take(5))+257, int(b.take(5))+1, int(b.take(4))+4
	if nlit > 286 || ndist > 30 {
		return errCorrupt
	}
	var pre [19]uint8
	for i := range npre {
		if b.n < 3 {
			b.refill()
		}
		pre[preOrder[i]] = uint8(b.take(3)) //nolint:gosec // three bits
	}
	if !build(t.lit[:], preBits, pre[:], preEntry) {
		return errCorrupt
	}
	lens := t.lens[:nlit+ndist]
	for i := 0; i < len(lens); {
		b.refill()
		e := t.lit[b.buf&(1<<preBits-1)]
		if e>>5&7 == kindBad {
			return errCorrupt
		}
		b.take(uint(e & 31))
		sym, n, v := e>>16, 0, uint8(0)
		switch {
		case sym < 16:
			lens[i] = uint8(sym) //nolint:gosec // below 16
			i++
			continue
		case sym == 16:
			if i == 0 {
				return errCorrupt
			}
			n, v = 3+int(b.take(2)), lens[i-1]
		case sym == 17:
			n = 3 + int(b.take(3))
		default:
			n = 11 + int(b.take(7))
		}
		if n > len(lens)-i || b.exhausted() {
			if b.exhausted() {
				return errInput
			}
			return errCorrupt
		}
		for ; n > 0; n-- {
			lens[i] = v
			i++
		}
	}
	if lens[256] == 0 || !build(t.lit[:], litBits, lens[:nlit], litEntry) || !build(t.dist[:], distBits, lens[nlit:], distEntry) {
		return errCorrupt
	}
	return nil
}

// block decodes literals and matches until the end of the block. One refill
// gives at least 56 bits: a literal, a length with extra bits and a distance
// with extra bits need 15 + 15 + 5 + 15 + 13 at most, so a second refill comes
// before the distance.
func (t *inflateTables) block(b *bitReader, dst []byte, out int) (int, error) {
	for {
		b.refill()
		e := t.lit[b.buf&(1<<litBits-1)]
		if e>>5&7 == kindLit {
			if out >= len(dst) {
				return out, errCorrupt
			}
			b.buf >>= e & 31
			b.n -= uint(e & 31)
			dst[out] = byte(e >> 16)
			out++
			e = t.lit[b.buf&(1<<litBits-1)]
			if e>>5&7 == kindLit && out < len(dst) {
				b.buf >>= e & 31
				b.n -= uint(e & 31)
				dst[out] = byte(e >> 16)
				out++
				e = t.lit[b.buf&(1<<litBits-1)]
			}
		}
		if e>>5&7 == kindSub {
			b.take(uint(e & 31))
			e = t.lit[int(e>>16)+int(b.buf&(1<<(e>>8&31)-1))]
		}
		b.take(uint(e & 31))
		switch e >> 5 & 7 {
		case kindLit:
			if out >= len(dst) {
				return out, errCorrupt
			}
			dst[out] = byte(e >> 16)
			out++
			if b.over > 8 { // far behind the end: no use going on
				return out, errInput
			}
			continue
		case kindEnd:
			return out, nil
		case kindBad:
			return out, errCorrupt
		}
		length := int(e>>16) + int(b.take(uint(e>>8&31)))
		b.refill()
		d := t.dist[b.buf&(1<<distBits-1)]
		if d>>5&7 == kindSub {
			b.take(uint(d & 31))
			d = t.dist[int(d>>16)+int(b.buf&(1<<(d>>8&31)-1))]
		}
		b.take(uint(d & 31))
		if d>>5&7 != kindBase {
			return out, errCorrupt
		}
		back := int(d>>16) + int(b.take(uint(d>>8&31)))
		if back > out || length > len(dst)-out || b.over > 8 {
			if b.over > 0 {
				return out, errInput
			}
			return out, errCorrupt
		}
		out = match(dst, out, back, length)
	}
}

// match copies length bytes from back bytes before out.
func match(dst []byte, out, back, length int) int {
	end := out + length
	for out < end {
		n := copy(dst[out:end], dst[end-length-back:out])
		out += n
	}
	return out
}
