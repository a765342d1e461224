// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bytes"
	"encoding/binary"
	"io"
)

// deltaOptions say which deltas a client understands.
type deltaOptions struct {
	thin, ofs bool
	chain     int // longest chain; 0: 50
}

// blockSize is the granularity at which the encoder finds equal bytes.
const blockSize = 16

// writeDeltaPack writes a pack in which an object is a delta against the object
// sent before it at the same path, or, in a thin pack, against what the client
// has at that path.
func (r *Repo) writeDeltaPack(w io.Writer, objs []packed, sel *selection, o deltaOptions) error {
	if o.chain <= 0 {
		o.chain = 50
	}
	h := r.format.new()
	cw := &countWriter{w: io.MultiWriter(w, h)}
	packHeader(cw, len(objs))
	last := map[string]sent{}
	if o.thin {
		r.thinBases(sel, last)
	}
	for _, p := range objs {
		at := cw.n
		obj := r.store.raw(p.id)
		base, ok := last[p.path]
		depth := 0
		if ok && p.path != "" && base.depth < o.chain && obj.typ == base.typ {
			if d := r.delta(base.id, p.id); d != nil {
				depth = base.depth + 1
				writeDelta(cw, base, at, d, o.ofs)
			}
		}
		if depth == 0 {
			_, _ = cw.Write(entryHeader(int(obj.typ), obj.size))
			_, _ = cw.Write(obj.z)
		}
		last[p.path] = sent{id: p.id, typ: obj.typ, offset: at, depth: depth, here: true}
	}
	if cw.err != nil {
		return cw.err
	}
	_, err := w.Write(h.Sum(nil))
	return err
}

// sent is an object a delta can be made against.
type sent struct {
	id     Hash
	typ    Type
	offset int64
	depth  int
	here   bool // in this pack
}

func writeDelta(cw *countWriter, base sent, at int64, d []byte, ofs bool) {
	if ofs && base.here {
		_, _ = cw.Write(entryHeader(ofsDelta, int64(len(d))))
		_, _ = cw.Write(offset(at - base.offset))
	} else {
		_, _ = cw.Write(entryHeader(refDelta, int64(len(d))))
		_, _ = cw.Write(base.id.raw())
	}
	_, _ = cw.Write(deflate(d))
}

// offset encodes the distance of an ofs-delta's base.
func offset(n int64) []byte {
	out := []byte{byte(n & 0x7f)}
	for n >>= 7; n > 0; n >>= 7 {
		n--
		out = append([]byte{0x80 | byte(n&0x7f)}, out...)
	}
	return out
}

func (r *Repo) thinBases(sel *selection, last map[string]sent) {
	for _, id := range sel.haves {
		c, err := r.store.commit(r.store.peel(id))
		if err == nil {
			r.thinTree(c.tree, "", last)
		}
	}
}

func (r *Repo) thinTree(id Hash, p string, last map[string]sent) {
	entries, err := r.store.tree(id)
	if err != nil {
		return
	}
	if p != "" {
		last[p] = sent{id: id, typ: TreeObject}
	}
	for _, e := range entries {
		switch e.mode {
		case modeTree:
			r.thinTree(e.id, p+"/"+e.name, last)
		case modeGitlink:
		default:
			last[p+"/"+e.name] = sent{id: e.id, typ: BlobObject}
		}
	}
}

// delta returns the delta from base to target, nil if it saves nothing.
func (r *Repo) delta(base, target Hash) []byte {
	_, a, err := r.store.get(base)
	if err != nil || len(a) < blockSize || base == target {
		return nil
	}
	_, b, err := r.store.get(target)
	if err != nil {
		return nil
	}
	d := makeDelta(a, b)
	if len(d) >= len(b) {
		return nil
	}
	return d
}

// makeDelta finds blocks of a in b.
func makeDelta(a, b []byte) []byte {
	out := binary.AppendUvarint(nil, uint64(len(a)))
	out = binary.AppendUvarint(out, uint64(len(b)))
	index := map[string]int{}
	for i := 0; i+blockSize <= len(a); i += blockSize {
		if _, ok := index[string(a[i:i+blockSize])]; !ok {
			index[string(a[i:i+blockSize])] = i
		}
	}
	var lit []byte
	for i := 0; i < len(b); {
		at := -1
		if i+blockSize <= len(b) {
			if k, ok := index[string(b[i:i+blockSize])]; ok {
				at = k
			}
		}
		if at < 0 {
			lit = append(lit, b[i])
			i++
			continue
		}
		n := blockSize
		for at+n < len(a) && i+n < len(b) && a[at+n] == b[i+n] {
			n++
		}
		out = appendInsert(out, lit)
		lit = nil
		out = appendCopy(out, at, n)
		i += n
	}
	return appendInsert(out, lit)
}

func appendInsert(out, lit []byte) []byte {
	for len(lit) > 0 {
		n := min(len(lit), 127)
		out = append(append(out, byte(n)), lit[:n]...)
		lit = lit[n:]
	}
	return out
}

// maxCopy is the most bytes one instruction copies.
const maxCopy = 0xffffff

func appendCopy(out []byte, at, n int) []byte {
	for n > 0 {
		k := min(n, maxCopy)
		op := byte(0x80)
		var args bytes.Buffer
		for i := range 4 {
			if v := byte(at >> (8 * i)); v != 0 {
				op |= 1 << i
				args.WriteByte(v)
			}
		}
		for i := range 3 {
			if v := byte(k >> (8 * i)); v != 0 && k != 0x10000 {
				op |= 1 << (4 + i)
				args.WriteByte(v)
			}
		}
		out = append(append(out, op), args.Bytes()...)
		at, n = at+k, n-k
	}
	return out
}
