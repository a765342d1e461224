// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package blake3 is the BLAKE3 hash with 32 bytes of output, portable and
// without dependencies.
package blake3

import (
	"encoding/binary"
	"hash"
	"math/bits"
)

const (
	// Size is the length of a digest.
	Size = 32
	// BlockSize is the compression function's block.
	BlockSize = 64

	chunkLen = 1024

	flagChunkStart = 1
	flagChunkEnd   = 2
	flagParent     = 4
	flagRoot       = 8
)

func iv() [8]uint32 {
	return [8]uint32{0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19}
}

func mix(a, b, c, d, x, y uint32) (ra, rb, rc, rd uint32) {
	a += b + x
	d = bits.RotateLeft32(d^a, -16)
	c += d
	b = bits.RotateLeft32(b^c, -12)
	a += b + y
	d = bits.RotateLeft32(d^a, -8)
	c += d
	b = bits.RotateLeft32(b^c, -7)
	return a, b, c, d
}

// compress runs the seven rounds and returns all sixteen words.
func compress(cv *[8]uint32, block *[16]uint32, counter uint64, length, flags uint32) [16]uint32 {
	h := iv()
	s0, s1, s2, s3, s4, s5, s6, s7 := cv[0], cv[1], cv[2], cv[3], cv[4], cv[5], cv[6], cv[7]
	s8, s9, s10, s11 := h[0], h[1], h[2], h[3]
	s12, s13, s14, s15 := uint32(counter), uint32(counter>>32), length, flags
	m := *block
	for round := 0; ; round++ {
		s0, s4, s8, s12 = mix(s0, s4, s8, s12, m[0], m[1])
		s1, s5, s9, s13 = mix(s1, s5, s9, s13, m[2], m[3])
		s2, s6, s10, s14 = mix(s2, s6, s10, s14, m[4], m[5])
		s3, s7, s11, s15 = mix(s3, s7, s11, s15, m[6], m[7])
		s0, s5, s10, s15 = mix(s0, s5, s10, s15, m[8], m[9])
		s1, s6, s11, s12 = mix(s1, s6, s11, s12, m[10], m[11])
		s2, s7, s8, s13 = mix(s2, s7, s8, s13, m[12], m[13])
		s3, s4, s9, s14 = mix(s3, s4, s9, s14, m[14], m[15])
		if round == 6 {
			break
		}
		m = [16]uint32{m[2], m[6], m[3], m[10], m[7], m[0], m[4], m[13], m[1], m[11], m[12], m[5], m[9], m[14], m[15], m[8]}
	}
	return [16]uint32{
		s0 ^ s8, s1 ^ s9, s2 ^ s10, s3 ^ s11, s4 ^ s12, s5 ^ s13, s6 ^ s14, s7 ^ s15,
		s8 ^ cv[0], s9 ^ cv[1], s10 ^ cv[2], s11 ^ cv[3], s12 ^ cv[4], s13 ^ cv[5], s14 ^ cv[6], s15 ^ cv[7],
	}
}

type node struct {
	cv      [8]uint32
	block   [16]uint32
	counter uint64
	length  uint32
	flags   uint32
}

func (n *node) chain() [8]uint32 {
	out := compress(&n.cv, &n.block, n.counter, n.length, n.flags)
	return [8]uint32(out[:8])
}

func parent(left, right [8]uint32) node {
	n := node{cv: iv(), length: BlockSize, flags: flagParent}
	copy(n.block[:8], left[:])
	copy(n.block[8:], right[:])
	return n
}

type hasher struct {
	cv      [8]uint32 // of the chunk being filled
	buf     [BlockSize]byte
	n       int // bytes in buf
	blocks  int // blocks of the chunk compressed
	chunk   uint64
	stack   [54][8]uint32
	stacked int
}

// New returns a BLAKE3 hash.
func New() hash.Hash {
	h := &hasher{}
	h.Reset()
	return h
}

func (h *hasher) Reset()         { *h = hasher{cv: iv()} }
func (h *hasher) Size() int      { return Size }
func (h *hasher) BlockSize() int { return BlockSize }

func (h *hasher) flags() uint32 {
	if h.blocks == 0 {
		return flagChunkStart
	}
	return 0
}

func words(p *[BlockSize]byte) (m [16]uint32) {
	for i := range m {
		m[i] = binary.LittleEndian.Uint32(p[4*i:])
	}
	return m
}

// last is the node of the unfinished chunk.
func (h *hasher) last() node {
	for i := h.n; i < BlockSize; i++ {
		h.buf[i] = 0
	}
	return node{cv: h.cv, block: words(&h.buf), counter: h.chunk, length: uint32(h.n), flags: h.flags() | flagChunkEnd}
}

func (h *hasher) push(cv [8]uint32, chunks uint64) {
	for chunks&1 == 0 {
		h.stacked--
		p := parent(h.stack[h.stacked], cv)
		cv = p.chain()
		chunks >>= 1
	}
	h.stack[h.stacked] = cv
	h.stacked++
}

func (h *hasher) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if h.n == BlockSize {
			if h.blocks == chunkLen/BlockSize-1 {
				n := h.last()
				h.chunk++
				h.push(n.chain(), h.chunk)
				h.cv, h.blocks = iv(), 0
			} else {
				m := words(&h.buf)
				out := compress(&h.cv, &m, h.chunk, BlockSize, h.flags())
				h.cv = [8]uint32(out[:8])
				h.blocks++
			}
			h.n = 0
		}
		c := copy(h.buf[h.n:], p)
		h.n += c
		p = p[c:]
	}
	return total, nil
}

func (h *hasher) Sum(b []byte) []byte {
	c := *h
	n := c.last()
	for i := c.stacked - 1; i >= 0; i-- {
		n = parent(c.stack[i], n.chain())
	}
	out := compress(&n.cv, &n.block, 0, n.length, n.flags|flagRoot)
	for _, w := range out[:8] {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}
