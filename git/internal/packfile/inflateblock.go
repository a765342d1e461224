// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import "encoding/binary"

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

// block decodes literals and matches until the end of the block: with eight
// bytes at a time while they last, then with care.
func (c *codes) block(b *bitReader, dst []byte, out int) (int, error) {
	out, done, ok := c.quick(b, dst, out)
	switch {
	case !ok:
		return out, errCorrupt
	case done:
		return out, nil
	}
	for {
		b.refill()
		e := c.lit[b.buf&(1<<litBits-1)]
		if e&isSub != 0 {
			b.take(uint(e & takeMask))
			e = c.lit[e>>16+uint32(b.buf)&(1<<(e>>8&15)-1)] //nolint:gosec // masked
		}
		bits := b.take(uint(e & takeMask))
		switch {
		case b.over > 8: // far behind the end: no use going on
			return out, errInput
		case e&isLit != 0:
			if out >= len(dst) {
				return out, errCorrupt
			}
			dst[out] = byte(e >> 16)
			out++
			continue
		case e&isEnd != 0:
			return out, nil
		case e&isBad != 0:
			return out, errCorrupt
		}
		length := int(e>>16 + bits>>(e>>8&15))
		b.refill()
		e = c.dist[b.buf&(1<<distBits-1)]
		if e&isSub != 0 {
			b.take(uint(e & takeMask))
			e = c.dist[e>>16+uint32(b.buf)&(1<<(e>>8&15)-1)] //nolint:gosec // masked
		}
		bits = b.take(uint(e & takeMask))
		back := int(e>>16 + bits>>(e>>8&15))
		if e&notLen != 0 || back > out || length > len(dst)-out {
			if b.over > 0 {
				return out, errInput
			}
			return out, errCorrupt
		}
		out = match(dst, out, back, length)
	}
}

// quick decodes while at least 16 bytes are left, so that no refill has to ask
// whether there is input. A refill gives at least 56 bits: three literals of
// the table's width and a length take 3·10 + 20, a distance 28 at most.
func (c *codes) quick(b *bitReader, dst []byte, out int) (at int, done, ok bool) {
	if b.over > 0 {
		return out, false, true
	}
	src, pos, buf, n := b.src, b.pos, b.buf, b.n
	for pos <= len(src)-16 {
		buf |= binary.LittleEndian.Uint64(src[pos:]) << (n & 63)
		pos += int((63 - n) >> 3) //nolint:gosec // at most 7
		n |= 56
		e := c.lit[buf&(1<<litBits-1)]
		for k := 0; e&isLit != 0 && k < 3; k++ {
			if uint(out) >= uint(len(dst)) {
				return out, false, false
			}
			dst[out] = byte(e >> 16)
			out++
			buf >>= e & takeMask
			n -= uint(e & takeMask)
			e = c.lit[buf&(1<<litBits-1)]
		}
		if e&isLit != 0 {
			continue
		}
		if e&isSub != 0 {
			buf >>= e & takeMask
			n -= uint(e & takeMask)
			e = c.lit[e>>16+uint32(buf)&(1<<(e>>8&15)-1)] //nolint:gosec // masked
		}
		bits := buf & (1<<(e&takeMask) - 1)
		buf >>= e & takeMask
		n -= uint(e & takeMask)
		if e&notLen != 0 {
			switch {
			case e&isLit != 0:
				if uint(out) >= uint(len(dst)) {
					return out, false, false
				}
				dst[out] = byte(e >> 16)
				out++
				continue
			case e&isEnd != 0:
				b.pos, b.buf, b.n = pos, buf&(1<<n-1), n
				return out, true, true
			}
			return out, false, false
		}
		length := int(e>>16) + int(bits>>(e>>8&15)) //nolint:gosec // at most 5 bits
		if n < 28 {
			buf |= binary.LittleEndian.Uint64(src[pos:]) << (n & 63)
			pos += int((63 - n) >> 3) //nolint:gosec // at most 7
			n |= 56
		}
		e = c.dist[buf&(1<<distBits-1)]
		if e&isSub != 0 {
			buf >>= e & takeMask
			n -= uint(e & takeMask)
			e = c.dist[e>>16+uint32(buf)&(1<<(e>>8&15)-1)] //nolint:gosec // masked
		}
		bits = buf & (1<<(e&takeMask) - 1)
		buf >>= e & takeMask
		n -= uint(e & takeMask)
		back := int(e>>16) + int(bits>>(e>>8&15)) //nolint:gosec // at most 13 bits
		if e&notLen != 0 || back > out || length > len(dst)-out {
			return out, false, false
		}
		out = match(dst, out, back, length)
	}
	b.pos, b.buf, b.n = pos, buf&(1<<n-1), n
	return out, false, true
}

// match copies length bytes from back bytes before out. All of them are in
// dst. Eight bytes at a time may write behind the end of the match, where the
// next bytes go.
func match(dst []byte, out, back, length int) int {
	end := out + length
	if back >= 8 && end <= len(dst)-8 {
		for from := out - back; out < end; from, out = from+8, out+8 {
			binary.LittleEndian.PutUint64(dst[out:], binary.LittleEndian.Uint64(dst[from:]))
		}
		return end
	}
	for out < end {
		out += copy(dst[out:end], dst[end-length-back:out])
	}
	return end
}
