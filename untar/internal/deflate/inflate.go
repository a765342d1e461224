// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package deflate

import (
	"encoding/binary"
	"math/bits"
)

// Slack is how many bytes behind its input and its output a [Decoder] may
// touch: slices given to it have that much more capacity.
const Slack = 320

const (
	litPrimary  = 11
	distPrimary = 8
)

// An entry of a decoding table: the bits to consume in the lowest five, the
// number of extra bits (of a link: of index bits) in the next four, what it
// is in the next two, and its value above 16.
const (
	entryMatch   = 0 << 9
	entryLiteral = 1 << 9
	entryEnd     = 2 << 9
	entryLink    = 3 << 9
	entryKind    = 3 << 9
)

// Decoder decompresses whole streams that are in memory. It is strict: what
// it accepts, every decoder accepts with the same result; what is merely
// unusual, as an incomplete code, it leaves to others. The zero value is
// ready. It is not safe for concurrent use.
type Decoder struct {
	lit     [2560]uint32
	dist    [640]uint32
	clen    [128]uint32
	lengths [literals + 2 + 32]uint8

	in   []byte // with slack
	size int    // of the input proper
	pos  int
	acc  uint64
	n    uint
	out  []byte // with slack
	max  int
	w    int
}

// Decode decompresses src into dst. It returns the bytes written and read;
// ok is false if src is not a complete stream, or longer than dst, or if it
// is unusual.
func (d *Decoder) Decode(dst, src []byte) (written, read int, ok bool) {
	if cap(src)-len(src) < Slack || cap(dst)-len(dst) < Slack {
		return 0, 0, false
	}
	d.in, d.size, d.pos, d.acc, d.n = src[:len(src)+Slack], len(src), 0, 0, 0
	d.out, d.max, d.w = dst[:len(dst)+Slack], len(dst), 0
	defer func() { d.in, d.out = nil, nil }()
	for final := false; !final; {
		d.refill()
		final = d.take(1) == 1
		switch d.take(2) {
		case 0:
			ok = d.stored()
		case 1:
			ok = d.fixedTables() && d.block()
		case 2:
			ok = d.dynamicTables() && d.block()
		default:
			ok = false
		}
		if !ok {
			return 0, 0, false
		}
	}
	read = d.pos - int(d.n>>3)
	return d.w, read, read <= d.size
}

// refill makes at least 56 bits available. Bits behind the input are
// whatever is there; used says so later.
func (d *Decoder) refill() {
	if d.pos > d.size+8 {
		return
	}
	d.acc |= binary.LittleEndian.Uint64(d.in[d.pos:]) << (d.n & 63)
	d.pos += int((63 - d.n) >> 3)
	d.n |= 56
}

func (d *Decoder) take(n uint) uint32 {
	v := uint32(d.acc) & (1<<n - 1)
	d.acc >>= n
	d.n -= n
	return v
}

// spent reports that more was read than there is.
func (d *Decoder) spent() bool { return d.pos-int(d.n>>3) > d.size }

func (d *Decoder) stored() bool {
	d.take(d.n & 7)
	d.pos -= int(d.n >> 3)
	d.acc, d.n = 0, 0
	if d.pos+4 > d.size {
		return false
	}
	n, inv := binary.LittleEndian.Uint16(d.in[d.pos:]), binary.LittleEndian.Uint16(d.in[d.pos+2:])
	d.pos += 4
	if n != ^inv || d.pos+int(n) > d.size || d.w+int(n) > d.max {
		return false
	}
	copy(d.out[d.w:], d.in[d.pos:d.pos+int(n)])
	d.pos += int(n)
	d.w += int(n)
	return true
}

func (d *Decoder) fixedTables() bool {
	l := d.lengths[:288]
	for i := range l {
		l[i] = uint8(fixedLength(i))
	}
	if !table(d.lit[:], l, litPrimary, litEntry) {
		return false
	}
	l = d.lengths[:32]
	for i := range l {
		l[i] = 5
	}
	return table(d.dist[:], l, distPrimary, distEntry)
}

func (d *Decoder) dynamicTables() bool {
	nlit, ndist, nclen := 257+int(d.take(5)), 1+int(d.take(5)), 4+int(d.take(4))
	if nlit > literals || ndist > distances {
		return false
	}
	var cl [codeLengths]uint8
	order := clenOrder()
	for i := range nclen {
		d.refill()
		cl[order[i]] = uint8(d.take(3)) //nolint:gosec // the order has indices of cl only
	}
	if !table(d.clen[:], cl[:], maxCodeBits, func(sym int) uint32 { return entryLiteral | uint32(sym)<<16 }) {
		return false
	}
	l := d.lengths[:nlit+ndist]
	for i := 0; i < len(l); {
		d.refill()
		e := d.clen[d.acc&(1<<maxCodeBits-1)]
		if e == 0 {
			return false
		}
		d.take(uint(e & 31))
		sym := int(e >> 16)
		if sym < 16 {
			l[i] = uint8(sym)
			i++
			continue
		}
		value, run := uint8(0), 0
		switch sym {
		case 16:
			if i == 0 {
				return false
			}
			value, run = l[i-1], 3+int(d.take(2))
		case 17:
			run = 3 + int(d.take(3))
		default:
			run = 11 + int(d.take(7))
		}
		if i+run > len(l) || d.spent() {
			return false
		}
		for ; run > 0; run-- {
			l[i] = value
			i++
		}
	}
	return l[endOfBlock] != 0 && table(d.lit[:], l[:nlit], litPrimary, litEntry) && table(d.dist[:], l[nlit:], distPrimary, distEntry)
}

func litEntry(sym int) uint32 {
	switch {
	case sym < endOfBlock:
		return entryLiteral | uint32(sym)<<16
	case sym == endOfBlock:
		return entryEnd
	case sym == 285:
		return entryMatch | maxMatch<<16
	case sym > 285:
		return 0 // refused when it is used: its length is 0
	case sym < 265:
		return entryMatch | uint32(sym-257+minMatch)<<16
	}
	n := uint32(sym-261) >> 2
	return entryMatch | n<<5 | (uint32(4+(sym-261)&3)<<n+minMatch)<<16
}

func distEntry(sym int) uint32 {
	switch {
	case sym >= distances:
		return 0
	case sym < 4:
		return uint32(sym+1) << 16
	}
	n := uint32(sym>>1) - 1
	return n<<5 | (uint32(2+sym&1)<<n+1)<<16
}

// table fills a decoding table; false if the code is neither
// complete nor a single one.
func table(t []uint32, lengths []uint8, primary int, entry func(int) uint32) bool {
	var count [maxBits + 1]int
	longest := 0
	for _, l := range lengths {
		count[l]++
		longest = max(longest, int(l))
	}
	count[0] = 0
	space := 1 << maxBits
	var next [maxBits + 2]int
	code := 0
	for l := 1; l <= maxBits; l++ {
		code = (code + count[l-1]) << 1
		next[l] = code
		space -= count[l] << (maxBits - l)
	}
	if space != 0 && (longest != 1 || count[1] != 1) { // one code of one bit is usual
		return false
	}
	size := 1 << primary
	sub := max(longest-primary, 0)
	links := size
	clear(t[:size])
	for sym, l8 := range lengths {
		l := int(l8)
		if l == 0 {
			continue
		}
		r := int(bits.Reverse16(uint16(next[l]))) >> (16 - l)
		next[l]++
		e := entry(sym)
		if e == 0 {
			continue
		}
		if l <= primary {
			for i := r; i < size; i += 1 << l {
				t[i] = e | uint32(l)
			}
			continue
		}
		first := r & (size - 1)
		if t[first] == 0 {
			if links+1<<sub > len(t) {
				return false
			}
			t[first] = entryLink | uint32(links)<<16 | uint32(sub)<<5 | uint32(primary)
			clear(t[links : links+1<<sub])
			links += 1 << sub
		}
		at := int(t[first] >> 16)
		for i := r >> primary; i < 1<<sub; i += 1 << (l - primary) {
			t[at+i] = e | uint32(l-primary)
		}
	}
	return true
}

// block decodes symbols up to the end of the block.
func (d *Decoder) block() bool {
	in, out := d.in, d.out
	pos, acc, n, w := d.pos, d.acc, d.n, d.w
	last := d.size + 8
	for {
		if pos > last || w > d.max {
			return false
		}
		acc |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56
		e := d.lit[acc&(1<<litPrimary-1)]
		// Up to three literals fit into what was filled in.
		for range 2 {
			if e&entryKind != entryLiteral {
				break
			}
			acc >>= e & 31
			n -= uint(e & 31)
			out[w] = byte(e >> 16)
			w++
			e = d.lit[acc&(1<<litPrimary-1)]
		}
		if e&entryKind == entryLink {
			acc >>= litPrimary
			n -= litPrimary
			e = d.lit[uint64(e>>16)+acc&(1<<(e>>5&15)-1)]
		}
		if e&31 == 0 {
			return false
		}
		acc >>= e & 31
		n -= uint(e & 31)
		switch e & entryKind {
		case entryLiteral:
			out[w] = byte(e >> 16)
			w++
			continue
		case entryEnd:
			d.pos, d.acc, d.n, d.w = pos, acc&(1<<n-1), n, w
			return !d.spent() && w <= d.max
		}
		extra := uint(e >> 5 & 15)
		length := int(e>>16) + int(acc&(1<<extra-1))
		acc >>= extra
		n -= extra
		if n < 32 {
			acc |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
			pos += int((63 - n) >> 3)
			n |= 56
		}
		e = d.dist[acc&(1<<distPrimary-1)]
		if e&entryKind == entryLink {
			acc >>= distPrimary
			n -= distPrimary
			e = d.dist[uint64(e>>16)+acc&(1<<(e>>5&15)-1)]
		}
		if e&31 == 0 {
			return false
		}
		acc >>= e & 31
		n -= uint(e & 31)
		extra = uint(e >> 5 & 15)
		dist := int(e>>16) + int(acc&(1<<extra-1))
		acc >>= extra
		n -= extra
		if dist > w || w > d.max {
			return false
		}
		repeat(out, w, dist, length)
		w += length
	}
}

// repeat copies length bytes from dist before w; it may write up to 16 bytes
// more.
func repeat(out []byte, w, dist, length int) {
	from := w - dist
	switch {
	case dist >= 16:
		for end := w + length; w < end; w, from = w+16, from+16 {
			*(*[16]byte)(out[w:]) = *(*[16]byte)(out[from:])
		}
	case dist >= 8:
		for end := w + length; w < end; w, from = w+8, from+8 {
			*(*[8]byte)(out[w:]) = *(*[8]byte)(out[from:])
		}
	case dist == 1:
		b := out[from]
		p := out[w : w+length]
		for i := range p {
			p[i] = b
		}
	default:
		for end := w + length; w < end; w, from = w+1, from+1 {
			out[w] = out[from]
		}
	}
}
