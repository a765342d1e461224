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
	litSize  = 1<<litBits + 1<<12
	distSize = 1<<distBits + 1<<11
)

// A table entry says how many bits to take, extra bits included (bits 0–5), how
// many of them are the code's (bits 8–11), what it is (bits 12–15), and the
// literal, the base of a length or distance, or where the sub-table is (bits
// 16–31). An entry that leads to a sub-table has the sub-table's width in place
// of the code's bits. Lengths and distances have no bit of what it is.
const (
	takeMask = 63
	isLit    = 1 << 12
	isSub    = 1 << 13
	isEnd    = 1 << 14
	isBad    = 1 << 15
	notLen   = isLit | isSub | isEnd | isBad
)

// codes are the tables of one block.
type codes struct {
	lit  [litSize]uint32
	dist [distSize]uint32
}

// inflateTables is the state that is reused.
type inflateTables struct {
	dynamic codes
	fixed   *codes // nil before the first use
	pre     [1 << preBits]uint32
	lens    [320]uint8
}

var preOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15} //nolint:gochecknoglobals // a table that never changes

// litMeaning, distMeaning and preMeaning are what the symbols mean: entries
// without the length of their code.
var litMeaning = litMeanings() //nolint:gochecknoglobals // a table that never changes

var distMeaning = distMeanings() //nolint:gochecknoglobals // a table that never changes

var preMeaning = preMeanings() //nolint:gochecknoglobals // a table that never changes

func litMeanings() (m [288]uint32) {
	for sym := range 256 {
		m[sym] = uint32(sym)<<16 | isLit //nolint:gosec // a byte
	}
	m[256] = isEnd
	base := uint32(3)
	for sym := 257; sym < 285; sym++ {
		extra := uint32(max(0, (sym-261)/4)) //nolint:gosec // at most 5
		m[sym] = base<<16 | extra
		base += 1 << extra
	}
	m[285] = 258 << 16
	m[286], m[287] = isBad, isBad
	return m
}

func distMeanings() (m [32]uint32) {
	base := uint32(1)
	for sym := range 30 {
		extra := uint32(max(0, sym/2-1)) //nolint:gosec // at most 13
		m[sym] = base<<16 | extra
		base += 1 << extra
	}
	m[30], m[31] = isBad, isBad
	return m
}

func preMeanings() (m [19]uint32) {
	for sym := range m {
		m[sym] = uint32(sym) << 16 //nolint:gosec // below 19
	}
	return m
}

// build fills a table for the given code lengths; false when they are no
// prefix code. An incomplete code is accepted where deflate allows it: none or
// one code of one bit. The table of all codes of up to n bits is that of n-1
// bits twice, plus the codes of n bits.
func build(table []uint32, width int, lens []uint8, meaning []uint32) bool {
	var count, next [17]int
	for _, l := range lens {
		count[l&15]++
	}
	left, longest := 1, 0
	for l := 1; l <= 15; l++ {
		if left = left<<1 - count[l]; left < 0 {
			return false
		}
		if count[l] > 0 {
			longest = l
		}
	}
	if used := len(lens) - count[0]; left > 0 && (used > 1 || used == 1 && count[1] != 1) {
		return false
	}
	var sorted [320]uint16
	for l := 1; l <= 15; l++ {
		next[l+1] = next[l] + count[l]
	}
	for sym, l := range lens {
		if l != 0 {
			sorted[next[l&15]] = uint16(sym) //nolint:gosec // below 320
			next[l&15]++
		}
	}
	table[0] = isBad | 1
	code, at := 0, 0
	for l := 1; l <= width; l++ {
		half := 1 << (l - 1)
		copy(table[half:2*half], table[:half])
		code <<= 1
		for range count[l] {
			table[bits.Reverse16(uint16(code))>>(16-l)] = meaning[sorted[at]] + uint32(l<<8|l) //nolint:gosec // below 1<<l
			code, at = code+1, at+1
		}
	}
	return longest <= width || buildLong(table, width, longest, code, sorted[at:], &count, meaning)
}

// buildLong adds the codes that are longer than the table is wide. Those that
// share their first bits share a sub-table.
func buildLong(table []uint32, width, longest, code int, sorted []uint16, count *[17]int, meaning []uint32) bool {
	wide := longest - width
	free, low := 1<<width, -1
	for l := width + 1; l <= longest; l++ {
		code <<= 1
		for range count[l] {
			rev := int(bits.Reverse16(uint16(code)) >> (16 - l)) //nolint:gosec // below 1<<l
			if rev&(1<<width-1) != low {
				low = rev & (1<<width - 1)
				if free+1<<wide > len(table) {
					return false
				}
				table[low] = uint32(free<<16|wide<<8|width) | isSub //nolint:gosec // small
				free += 1 << wide
			}
			e := meaning[sorted[0]] + uint32((l-width)<<8|(l-width)) //nolint:gosec // small
			sub := table[free-1<<wide : free]
			for i := rev >> width; i < len(sub); i += 1 << (l - width) {
				sub[i] = e
			}
			code, sorted = code+1, sorted[1:]
		}
	}
	return true
}

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
				out, err = t.fixed.block(&b, dst, out)
			}
		case 2:
			if err = t.dynamicCodes(&b); err == nil {
				out, err = t.dynamic.block(&b, dst, out)
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
	if t.fixed != nil {
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
	c := new(codes)
	ok := build(c.lit[:], litBits, l, litMeaning[:])
	for i := range 32 {
		t.lens[i] = 5
	}
	if !ok || !build(c.dist[:], distBits, t.lens[:32], distMeaning[:]) {
		return errCorrupt
	}
	t.fixed = c
	return nil
}

func (t *inflateTables) dynamicCodes(b *bitReader) error {
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
	if !build(t.pre[:], preBits, pre[:], preMeaning[:]) {
		return errCorrupt
	}
	lens := t.lens[:nlit+ndist]
	for i := 0; i < len(lens); {
		if b.n < 14 {
			b.refill()
		}
		e := t.pre[b.buf&(1<<preBits-1)]
		if e&isBad != 0 {
			return errCorrupt
		}
		b.take(uint(e & takeMask))
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
		if b.exhausted() {
			return errInput
		}
		if n > len(lens)-i {
			return errCorrupt
		}
		for ; n > 0; n-- {
			lens[i] = v
			i++
		}
	}
	if lens[256] == 0 || !build(t.dynamic.lit[:], litBits, lens[:nlit], litMeaning[:]) || !build(t.dynamic.dist[:], distBits, lens[nlit:], distMeaning[:]) {
		return errCorrupt
	}
	return nil
}
