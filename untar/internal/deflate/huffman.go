// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package deflate

import (
	"math/bits"
	"slices"
)

const (
	literals    = 286
	distances   = 30
	codeLengths = 19
	endOfBlock  = 256
	maxBits     = 15
	maxCodeBits = 7
)

// code is the reversed Huffman code in the low 16 bits, its length above.
type code uint32

func (c code) bits() uint64 { return uint64(c & 0xffff) }
func (c code) len() uint    { return uint(c >> 16) }

// lengthSymbol is the symbol, extra bits and base of match length l+3.
func lengthSymbol(l uint32) (sym, extra, base uint32) {
	if l == maxMatch-minMatch {
		return 285, 0, l
	}
	if l < 8 {
		return 257 + l, 0, l
	}
	n := uint32(bits.Len32(l)) - 3
	return 257 + 4*n + l>>n, n, l >> n << n
}

// distanceSymbol is the symbol, extra bits and base of distance d+1.
func distanceSymbol(d uint32) (sym, extra, base uint32) {
	if d < 4 {
		return d, 0, d
	}
	n := uint32(bits.Len32(d)) - 2
	return 2*n + d>>n, n, d >> n << n
}

// trees is the work space for the codes of one block.
type trees struct {
	litFreq  [literals]uint32
	distFreq [distances]uint32
	lenFreq  [codeLengths]uint32
	lit      [literals]code
	dist     [distances]code
	clen     [codeLengths]code
	litLen   [literals]uint8
	distLen  [distances]uint8
	clenLen  [codeLengths]uint8
	keys     []uint64
	weights  []uint32
	runs     []uint16 // code-length symbols, extra bits above bit 5
}

// lengths fills out with the code length of each symbol, at most limit. At
// least two symbols get a code, as every reader accepts that.
func (t *trees) lengths(freq []uint32, out []uint8, limit int) {
	keys := t.keys[:0]
	for i, f := range freq {
		out[i] = 0
		if f > 0 {
			keys = append(keys, uint64(f)<<16|uint64(i))
		}
	}
	for i := 0; len(keys) < 2; i++ {
		if freq[i] == 0 {
			keys = append(keys, uint64(i))
		}
	}
	t.keys = keys
	slices.Sort(keys) // keys are distinct: one order
	n := len(keys)
	w := t.weights[:0]
	for _, k := range keys {
		w = append(w, uint32(k>>16))
	}
	t.weights = w
	minimumRedundancy(w)
	var count [64]int
	for _, l := range w {
		count[min(int(l), limit)]++
	}
	// Shorten where the limit made the code overfull.
	total := 0
	for l := 1; l <= limit; l++ {
		total += count[l] << (limit - l)
	}
	for total > 1<<limit {
		count[limit]--
		for l := limit - 1; l > 0; l-- {
			if count[l] > 0 {
				count[l]--
				count[l+1] += 2
				break
			}
		}
		total--
	}
	k := n
	for l := 1; l <= limit; l++ {
		for range count[l] {
			k--
			out[keys[k]&0xffff] = uint8(l)
		}
	}
}

// minimumRedundancy turns ascending weights into code lengths in place
// (Moffat and Katajainen, 1995).
func minimumRedundancy(a []uint32) {
	n := len(a)
	if n < 2 {
		return
	}
	a[0] += a[1]
	root, leaf := 0, 2
	for next := 1; next < n-1; next++ {
		if leaf >= n || a[root] < a[leaf] {
			a[next] = a[root]
			a[root] = uint32(next)
			root++
		} else {
			a[next] = a[leaf]
			leaf++
		}
		if leaf >= n || (root < next && a[root] < a[leaf]) {
			a[next] += a[root]
			a[root] = uint32(next)
			root++
		} else {
			a[next] += a[leaf]
			leaf++
		}
	}
	a[n-2] = 0
	for next := n - 3; next >= 0; next-- {
		a[next] = a[a[next]] + 1
	}
	avail, used, depth := 1, 0, uint32(0)
	root, next := n-2, n-1
	for avail > 0 {
		for root >= 0 && a[root] == depth {
			used++
			root--
		}
		for avail > used {
			a[next] = depth
			next--
			avail--
		}
		avail = 2 * used
		depth++
		used = 0
	}
}

// assign gives the canonical codes for lengths.
func assign(lengths []uint8, codes []code) {
	var count, next [maxBits + 2]uint32
	for _, l := range lengths {
		count[l]++
	}
	count[0] = 0
	c := uint32(0)
	for l := 1; l <= maxBits; l++ {
		c = (c + count[l-1]) << 1
		next[l] = c
	}
	for i, l := range lengths {
		if l == 0 {
			codes[i] = 0
			continue
		}
		r := bits.Reverse16(uint16(next[l])) >> (16 - l)
		next[l]++
		codes[i] = code(r) | code(l)<<16
	}
}

// fixed sets the codes that RFC 1951 fixes.
func (t *trees) fixed() {
	var l [288]uint8
	var c [288]code
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
	assign(l[:], c[:])
	copy(t.lit[:], c[:])
	for i := range t.dist {
		t.dist[i] = code(bits.Reverse16(uint16(i))>>11) | 5<<16
	}
}

func fixedLength(sym int) uint32 {
	switch {
	case sym < 144:
		return 8
	case sym < 256:
		return 9
	case sym < 280:
		return 7
	}
	return 8
}
