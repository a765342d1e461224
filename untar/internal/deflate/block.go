// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package deflate

import "encoding/binary"

// bitWriter packs bits, the first into the lowest.
type bitWriter struct {
	out []byte
	acc uint64
	n   uint
}

// put adds count bits; the caller keeps n+count below 64.
func (w *bitWriter) put(v uint64, count uint) {
	w.acc |= v << w.n
	w.n += count
}

// spill writes whole bytes out so that at least 56 bits fit.
func (w *bitWriter) spill() {
	if w.n >= 32 {
		w.out = binary.LittleEndian.AppendUint32(w.out, uint32(w.acc))
		w.acc >>= 32
		w.n -= 32
	}
}

func (w *bitWriter) align() {
	for w.n > 0 {
		w.out = append(w.out, byte(w.acc))
		w.acc >>= 8
		w.n -= min(8, w.n)
	}
	w.acc = 0
}

// stored writes raw as stored blocks.
func (w *bitWriter) stored(raw []byte, final bool) {
	for {
		n := min(len(raw), 65535)
		last := uint64(0)
		if final && n == len(raw) {
			last = 1
		}
		w.spill()
		w.put(last, 3)
		w.align()
		w.out = binary.LittleEndian.AppendUint16(w.out, uint16(n))
		w.out = binary.LittleEndian.AppendUint16(w.out, ^uint16(n))
		w.out = append(w.out, raw[:n]...)
		raw = raw[n:]
		if len(raw) == 0 {
			return
		}
	}
}

// block writes tokens, which stand for raw, in the shortest of the three
// forms.
func (w *bitWriter) block(t *trees, tokens []token, raw []byte, final bool) {
	t.count(tokens)
	extra, fixedSize := t.sizes()
	t.lengths(t.litFreq[:], t.litLen[:], maxBits)
	t.lengths(t.distFreq[:], t.distLen[:], maxBits)
	nlit, ndist := trimmed(t.litLen[:], 257), trimmed(t.distLen[:], 1)
	t.runLengths(nlit, ndist)
	t.lengths(t.lenFreq[:], t.clenLen[:], maxCodeBits)
	nclen := codeLengths
	order := clenOrder()
	for nclen > 4 && t.clenLen[order[nclen-1]] == 0 {
		nclen--
	}
	dynamic := extra + 14 + 3*uint32(nclen) + t.runBits()
	for i, f := range t.litFreq {
		dynamic += f * uint32(t.litLen[i])
	}
	for i, f := range t.distFreq {
		dynamic += f * uint32(t.distLen[i])
	}
	fixedSize += extra
	storedSize := uint32(len(raw)+4*(1+len(raw)/65535))*8 + 10
	last := uint64(0)
	if final {
		last = 1
	}
	w.spill()
	switch {
	case storedSize < dynamic && storedSize < fixedSize:
		w.stored(raw, final)
		return
	case fixedSize <= dynamic:
		w.put(last|1<<1, 3)
		t.fixed()
	default:
		w.put(last|2<<1, 3)
		assign(t.litLen[:], t.lit[:])
		assign(t.distLen[:], t.dist[:])
		assign(t.clenLen[:], t.clen[:])
		w.header(t, nlit, ndist, nclen)
	}
	w.tokens(t, tokens)
}

func (w *bitWriter) tokens(t *trees, tokens []token) {
	for _, k := range tokens {
		if k&matchFlag == 0 {
			c := t.lit[k]
			w.put(c.bits(), c.len())
			w.spill()
			continue
		}
		l, d := uint32(k>>15)&0xff, uint32(k)&0x7fff
		sym, n, base := lengthSymbol(l)
		c := t.lit[sym]
		w.put(c.bits(), c.len())
		w.put(uint64(l-base), uint(n))
		w.spill()
		sym, n, base = distanceSymbol(d)
		c = t.dist[sym]
		w.put(c.bits(), c.len())
		w.put(uint64(d-base), uint(n))
		w.spill()
	}
	c := t.lit[endOfBlock]
	w.put(c.bits(), c.len())
	w.spill()
}

// count fills the frequencies.
func (t *trees) count(tokens []token) {
	clear(t.litFreq[:])
	clear(t.distFreq[:])
	for _, k := range tokens {
		if k&matchFlag == 0 {
			t.litFreq[k]++
			continue
		}
		l, _, _ := lengthSymbol(uint32(k>>15) & 0xff)
		d, _, _ := distanceSymbol(uint32(k) & 0x7fff)
		t.litFreq[l]++
		t.distFreq[d]++
	}
	t.litFreq[endOfBlock] = 1
}

// sizes returns the extra bits of all matches and the bits of the codes
// under the fixed trees.
func (t *trees) sizes() (extra, fixed uint32) {
	for i, f := range t.litFreq {
		fixed += f * fixedLength(i)
		if i >= 265 && i < 285 {
			extra += f * uint32((i-261)>>2)
		}
	}
	for i, f := range t.distFreq {
		fixed += f * 5
		if i >= 4 {
			extra += f * uint32(i/2-1)
		}
	}
	return extra, fixed
}

func trimmed(lengths []uint8, least int) int {
	n := len(lengths)
	for n > least && lengths[n-1] == 0 {
		n--
	}
	return n
}

func clenOrder() [codeLengths]uint8 {
	return [codeLengths]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
}

// runLengths encodes the code lengths of both trees as runs.
func (t *trees) runLengths(nlit, ndist int) {
	clear(t.lenFreq[:])
	t.runs = t.runs[:0]
	var all [literals + distances]uint8
	n := copy(all[:], t.litLen[:nlit])
	n += copy(all[n:], t.distLen[:ndist])
	emit := func(sym, extra int) {
		t.lenFreq[sym]++
		t.runs = append(t.runs, uint16(sym|extra<<5))
	}
	for i := 0; i < n; {
		l := all[i]
		run := 1
		for i+run < n && all[i+run] == l {
			run++
		}
		i += run
		if l == 0 {
			for run >= 11 {
				k := min(run, 138)
				emit(18, k-11)
				run -= k
			}
			if run >= 3 {
				emit(17, run-3)
				run = 0
			}
		} else {
			emit(int(l), 0)
			run--
			for run >= 3 {
				k := min(run, 6)
				emit(16, k-3)
				run -= k
			}
		}
		for ; run > 0; run-- {
			emit(int(l), 0)
		}
	}
}

func runExtra(sym uint16) uint {
	switch sym {
	case 16:
		return 2
	case 17:
		return 3
	case 18:
		return 7
	}
	return 0
}

func (t *trees) runBits() (n uint32) {
	for i, f := range t.lenFreq {
		n += f * (uint32(t.clenLen[i]) + uint32(runExtra(uint16(i))))
	}
	return n
}

func (w *bitWriter) header(t *trees, nlit, ndist, nclen int) {
	w.put(uint64(nlit-257), 5)
	w.put(uint64(ndist-1), 5)
	w.put(uint64(nclen-4), 4)
	w.spill()
	order := clenOrder()
	for _, s := range order[:nclen] {
		w.put(uint64(t.clenLen[s]), 3)
		w.spill()
	}
	for _, r := range t.runs {
		sym := r & 31
		c := t.clen[sym]
		w.put(c.bits(), c.len())
		w.put(uint64(r>>5), runExtra(sym))
		w.spill()
	}
}
