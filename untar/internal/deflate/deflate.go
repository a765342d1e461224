// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deflate is a DEFLATE (RFC 1951) encoder whose output never
// changes: it uses integers only and depends on nothing but its input, so
// that a digest of compressed bytes is the same on every machine and with
// every Go release. Changing any constant here is a breaking change.
package deflate

import (
	"encoding/binary"
	"math/bits"
)

// Level says how hard to search.
type Level int

// The levels.
const (
	Default Level = iota // lazy matching along hash chains, about zlib's 6
	Fast                 // one probe per position, about zlib's 2
	Store                // stored blocks only
)

// MaxInput is the largest input of [Encoder.Encode]: positions are 32 bits
// with room to spare.
const MaxInput = 1 << 24

const (
	minMatch   = 3
	maxMatch   = 258
	windowSize = 1 << 15
	windowMask = windowSize - 1

	hash4Bits = 15

	chainDepth = 16  // candidates looked at for one position
	goodLength = 8   // a match this long quarters the search at the next position
	niceLength = 128 // a match this long is taken at once
	lazyLength = 32  // a match this long is not improved upon
	edgeLength = 32  // positions entered at either end of a longer match

	maxBlockTokens = 32768
)

// Encoder holds the tables of one encoding at a time. The zero value is
// ready. It is not safe for concurrent use.
type Encoder struct {
	head4  [1 << hash4Bits]int32
	prev   [windowSize]int32
	tokens []token
	stats  splitter
	w      bitWriter
	tree   trees
}

// token is a literal, or a match as flag | (length-3)<<15 | (distance-1).
type token uint32

const matchFlag token = 1 << 31

// Encode appends src, compressed as one complete stream, to dst.
func (e *Encoder) Encode(dst, src []byte, level Level) []byte {
	e.w.out, e.w.acc, e.w.n = dst, 0, 0
	switch {
	case level == Store || len(src) < 8:
		e.w.stored(src, true)
	case level == Fast:
		e.fast(src)
	default:
		e.lazy(src)
	}
	e.w.align()
	out := e.w.out
	e.w.out = nil
	return out
}

func load32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }

func hash4(v uint32) uint32 { return v * 2654435761 >> (32 - hash4Bits) }

// extend counts equal bytes of src[a:] and src[b:], a < b, at most limit.
func extend(src []byte, a, b, limit int) int {
	n := 0
	if end := len(src) - b; limit > end {
		limit = end
	}
	for n+8 <= limit {
		x := binary.LittleEndian.Uint64(src[a+n:]) ^ binary.LittleEndian.Uint64(src[b+n:])
		if x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
		n += 8
	}
	for n < limit && src[a+n] == src[b+n] {
		n++
	}
	return n
}

// begin prepares the tables for an input.
func (e *Encoder) begin() {
	for i := range e.head4 {
		e.head4[i] = -1
	}
	if e.tokens == nil {
		e.tokens = make([]token, 0, maxBlockTokens+2)
	}
	e.tokens = e.tokens[:0]
	e.stats = splitter{}
}

// enter puts position i into the tables and returns the former head.
func (e *Encoder) enter(src []byte, i int) int32 {
	p := &e.head4[hash4(load32(src, i))]
	at := *p
	e.prev[i&windowMask] = at
	*p = int32(i)
	return at
}

// cover enters the positions of a match, of a long one those at both ends:
// what the others could find, the earlier copy gives as well.
func (e *Encoder) cover(src []byte, from, to int) {
	if to-from > 2*edgeLength {
		for i := from; i < from+edgeLength; i++ {
			e.enter(src, i)
		}
		from = to - edgeLength
	}
	for i := from; i < to; i++ {
		e.enter(src, i)
	}
}

// longest searches the chain from at for a match at i longer than best,
// which is at least 3. A length of 0 means none.
func (e *Encoder) longest(src []byte, i int, at int32, best, depth int) (length, dist int) {
	limit := min(maxMatch, len(src)-i)
	if best >= limit {
		return 0, 0
	}
	lowest := int32(max(i-windowSize, -1))
	end := load32(src, i+best-3) // a longer match has these four bytes, too
	for at > lowest {
		if p := int(at); load32(src, p+best-3) == end {
			if n := extend(src, p, i, limit); n > best {
				best, length, dist = n, n, i-p
				if n >= niceLength || n >= limit {
					break
				}
				end = load32(src, i+best-3)
			}
		}
		depth--
		next := e.prev[at&windowMask]
		if depth == 0 || next >= at {
			break
		}
		at = next
	}
	return length, dist
}

// lazy takes a match only if the next position has no better one. Matches of
// three bytes are not looked for: they rarely cost less than the literals.
func (e *Encoder) lazy(src []byte) {
	e.begin()
	start := 0          // first byte of the open block
	end := len(src) - 4 // last position with four bytes
	heldLen, heldDist := 0, 0
	misses := 0
	i := 0
	for i <= end {
		at := e.enter(src, i)
		length, dist := 0, 0
		if heldLen < lazyLength {
			depth := chainDepth
			if heldLen >= goodLength {
				depth >>= 2
			}
			length, dist = e.longest(src, i, at, max(heldLen, minMatch), depth)
		}
		switch {
		case heldLen > 0 && length <= heldLen: // the held match, which began at i-1, wins
			e.match(heldLen, heldDist)
			stop := i - 1 + heldLen
			e.cover(src, i+1, min(stop, end+1))
			i = stop
			heldLen, misses = 0, 0
			start = e.maybeFlush(src, start, i)
			continue
		case heldLen > 0:
			e.literal(src[i-1])
		}
		if length > 0 {
			heldLen, heldDist = length, dist
			i++
			continue
		}
		heldLen = 0
		// The longer nothing matched, the more bytes go unsearched.
		for step := 1 + misses>>8; step > 0 && i < len(src); step-- {
			e.literal(src[i])
			i++
		}
		misses++
		start = e.maybeFlush(src, start, i)
	}
	if heldLen > 0 {
		e.match(heldLen, heldDist)
		i += heldLen - 1
	}
	for ; i < len(src); i++ {
		e.literal(src[i])
	}
	e.flush(src[start:], true)
}

// fast looks at one candidate per position and skips ahead in data that
// does not compress.
func (e *Encoder) fast(src []byte) {
	e.begin()
	start, i := 0, 0
	end := len(src) - 4
	misses := 0
	for i <= end {
		v := load32(src, i)
		h := hash4(v)
		at := int(e.head4[h])
		e.head4[h] = int32(i)
		if at < 0 || i-at > windowSize || load32(src, at) != v {
			step := 1 + misses>>6
			misses++
			for ; step > 0 && i < len(src); step-- {
				e.literal(src[i])
				i++
			}
			start = e.maybeFlush(src, start, i)
			continue
		}
		misses = 0
		length := 4 + extend(src, at+4, i+4, maxMatch-4)
		e.match(length, i-at)
		stop := i + length
		for j := i + 1; j < stop && j <= end; j += 2 {
			e.head4[hash4(load32(src, j))] = int32(j)
		}
		i = stop
		start = e.maybeFlush(src, start, i)
	}
	for ; i < len(src); i++ {
		e.literal(src[i])
	}
	e.flush(src[start:], true)
}

func (e *Encoder) literal(b byte) {
	e.tokens = append(e.tokens, token(b))
	e.stats.literal(b)
}

func (e *Encoder) match(length, dist int) {
	e.tokens = append(e.tokens, matchFlag|token(length-minMatch)<<15|token(dist-1))
	e.stats.match(length)
}

// maybeFlush ends the block where the data changed or the block is full;
// next is the first byte not covered by a token. It returns the start of the
// open block.
func (e *Encoder) maybeFlush(src []byte, start, next int) int {
	if len(e.tokens) < maxBlockTokens-512 && !e.stats.split(next-start) {
		return start
	}
	if next == len(src) {
		return start // the last block must say so
	}
	e.flush(src[start:next], false)
	return next
}

func (e *Encoder) flush(raw []byte, final bool) {
	e.w.block(&e.tree, e.tokens, raw, final)
	e.tokens = e.tokens[:0]
	e.stats = splitter{}
}
