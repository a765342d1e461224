// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the trailer is a checksum; ids use collision detection
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/objhash"
)

// Options say how to receive a pack.
type Options struct {
	Format driver.Format
	Limits Limits
	// Dir is where the temporary file goes. Zero: the system's.
	Dir string
	// Base finds bases of a thin pack. Nil: the pack must be complete.
	Base Base
	// Named keeps the file's name, for a caller that wants to rename it.
	Named bool
	// Progress is called with the bytes of each chunk that arrived. Nil: not.
	Progress func(n int)
}

const (
	chunkSize = 256 << 10
)

// Receive reads one pack from r, which must end with it, checks the trailer
// and computes all ids.
func Receive(ctx context.Context, r io.Reader, o Options) (*Pack, error) {
	f, err := os.CreateTemp(o.Dir, "pack-*.tmp")
	if err != nil {
		return nil, err
	}
	p := &Pack{file: f, path: f.Name(), format: o.Format, lim: o.Limits.Fill(), base: o.Base, copying: new(sync.Mutex), shelf: &shelf{dir: o.Dir}, bases: newBases()}
	if !o.Named && os.Remove(f.Name()) == nil {
		p.path = ""
	}
	if err := p.receive(ctx, r, o.Progress); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Pack) receive(ctx context.Context, r io.Reader, progress func(int)) error {
	in := newFeed(r, p.file, p.lim.Pack, p.format, progress)
	err := p.parse(ctx, in)
	if perr := in.stop(err != nil); perr != nil {
		// What went wrong with the stream says more than how the parser noticed.
		return perr
	}
	if err != nil {
		return err
	}
	p.size = in.total
	if err := p.resolveDeltas(ctx); err != nil {
		return err
	}
	p.buildTable()
	return nil
}

func (p *Pack) parse(ctx context.Context, in *feed) error {
	var head [12]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return cut(err, 0)
	}
	if string(head[:4]) != "PACK" || binary.BigEndian.Uint32(head[4:]) != 2 {
		return malformed(0, "no pack of version 2")
	}
	count := int64(binary.BigEndian.Uint32(head[8:]))
	if err := limits.Check("git-objects", p.lim.Objects, count); err != nil {
		return err
	}
	s := &scanner{p: p, in: in, inf: newInflater(), hasher: objhash.New(p.format), ids: newIDs(p), keep: board{s: p.shelf}, announced: int(count)}
	defer s.ids.stop()
	for i := range count {
		if i&255 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.next(); err != nil {
			return err
		}
	}
	if err := s.ids.finish(); err != nil {
		return err
	}
	return p.trailer(in)
}

func (p *Pack) trailer(in *feed) error {
	at := in.offset()
	sum := make([]byte, p.format.Size())
	if _, err := io.ReadFull(in, sum); err != nil {
		return cut(err, at)
	}
	if _, err := in.ReadByte(); err == nil {
		return malformed(at+int64(len(sum)), "bytes after the trailer")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.Equal(sum, in.digest()) {
		return malformed(at, "checksum mismatch")
	}
	var err error
	p.sum, err = driver.NewHash(sum)
	return err
}

func cut(err error, at int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("offset %d: pack ends early: %w", at, errors.Join(driver.ErrMalformedPack, io.ErrUnexpectedEOF))
	}
	return err
}

// scanner reads the entries one after the other.
type scanner struct {
	p         *Pack
	in        *feed
	inf       *inflater
	hasher    *objhash.Hasher // of large objects
	ids       *ids            // of small ones
	inflated  int64
	keep      board
	head      headWriter
	ref       [32]byte // the id that a delta names its base by
	announced int      // objects, says the header; a claim
}

func (s *scanner) next() error {
	p, at := s.p, s.in.offset()
	kind, size, err := s.header(at)
	if err != nil {
		return err
	}
	e := entry{off: at, size: size, base: -1, kind: kind}
	switch kind {
	case kindOfs:
		back, err := distance(s.in, at)
		if err != nil {
			return err
		}
		i, ok := p.at(at - back)
		if !ok {
			return malformed(at, "delta base is not the beginning of an object")
		}
		e.base = int32(i) //nolint:gosec // bounded by the limit on objects
	case kindRef:
		if _, err := io.ReadFull(s.in, s.ref[:p.format.Size()]); err != nil {
			return cut(err, at)
		}
		e.base = external
		p.thin++
	default:
		e.typ = driver.Type(kind)
	}
	e.data = s.in.offset()
	return s.body(e)
}

// body inflates one entry: objects are hashed, deltas only measured.
func (s *scanner) body(e entry) error {
	p := s.p
	if e.kind >= kindOfs {
		p.deltas++
		if err := s.delta(&e); err != nil {
			return err
		}
		if i := p.add(e, s.announced); e.kind == kindRef {
			copy(p.id(i), s.ref[:])
		}
		return nil
	}
	if err := s.count(e.off, e.size); err != nil {
		return err
	}
	if e.size <= smallObject {
		return s.small(e)
	}
	s.hasher.Start(e.typ, e.size)
	if err := s.inf.stream(s.in, e.size, s.hasher, e.off); err != nil {
		return err
	}
	id, err := s.hasher.Sum()
	if err == nil {
		p.setID(p.add(e, s.announced), id)
	}
	return err
}

// small inflates an object in one go and leaves its id to another goroutine.
func (s *scanner) small(e entry) error {
	buf, loc := s.keep.room(e.typ, e.size)
	size := e.size
	if buf != nil {
		size = 0 // it has room of its own
	}
	slab, err := s.ids.room(size)
	if err != nil {
		return err
	}
	if buf == nil {
		buf = slab
	}
	if buf, err = s.inf.whole(s.in, e.size, buf, e.off); err != nil {
		return err
	}
	i := s.p.add(e, s.announced)
	s.p.setLoc(i, loc)
	s.ids.add(i, e.typ, buf, loc == 0)
	return nil
}

// delta skips the instructions and reads the two sizes at their head.
func (s *scanner) delta(e *entry) error {
	// Instructions may be as long as an object, and give little.
	if err := s.count(e.off, e.size); err != nil {
		return err
	}
	w := &s.head
	w.n = 0
	if err := s.inf.stream(s.in, e.size, w, e.off); err != nil {
		return err
	}
	_, n := varint(w.buf[:w.n])
	if n == 0 {
		return malformed(e.off, "delta without sizes")
	}
	result, m := varint(w.buf[n:w.n])
	if m == 0 || result > 1<<62 {
		return malformed(e.off, "delta without sizes")
	}
	e.size = int64(result)
	return s.count(e.off, e.size)
}

func (s *scanner) count(off, size int64) error {
	if err := limits.Check("git-object", s.p.lim.Object, size); err != nil {
		return err
	}
	s.inflated += size
	if s.inflated < 0 {
		return malformed(off, "sizes overflow")
	}
	return limits.Check("git-inflated", s.p.lim.Inflated, s.inflated)
}

// header reads type and size. For deltas the size is that of the instructions.
func (s *scanner) header(at int64) (kind uint8, size int64, err error) {
	c, err := s.in.ReadByte()
	if err != nil {
		return 0, 0, cut(err, at)
	}
	kind = c >> 4 & 7
	u := uint64(c & 15)
	for shift := 4; c&0x80 != 0; shift += 7 {
		if c, err = s.in.ReadByte(); err != nil {
			return 0, 0, cut(err, at)
		}
		if shift > 60 {
			return 0, 0, malformed(at, "size too long")
		}
		u |= uint64(c&0x7f) << shift
	}
	if kind == 0 || kind == 5 {
		return 0, 0, malformed(at, "unknown type %d", kind)
	}
	if u > 1<<62 {
		return 0, 0, limits.Check("git-object", s.p.lim.Object, 1<<62)
	}
	if err := limits.Check("git-object", s.p.lim.Object, int64(u)); err != nil {
		return 0, 0, err
	}
	return kind, int64(u), nil
}

// distance reads the negative offset of an ofs-delta.
func distance(r io.ByteReader, at int64) (int64, error) {
	var v int64
	for i := 0; ; i++ {
		c, err := r.ReadByte()
		if err != nil {
			return 0, cut(err, at)
		}
		if i > 0 {
			v++
		}
		if v > 1<<54 {
			return 0, malformed(at, "delta offset too long")
		}
		v = v<<7 | int64(c&0x7f)
		if c&0x80 == 0 {
			break
		}
	}
	if v <= 0 || v >= at {
		return 0, malformed(at, "delta offset outside the pack")
	}
	return v, nil
}

// headWriter keeps the first bytes and drops the rest.
type headWriter struct {
	buf [20]byte
	n   int
}

func (h *headWriter) Write(b []byte) (int, error) {
	h.n += copy(h.buf[h.n:], b)
	return len(b), nil
}

// varint reads a little-endian base-128 number; n is 0 when it is cut off.
func varint(b []byte) (v uint64, n int) {
	for shift := 0; n < len(b) && shift < 63; shift += 7 {
		c := b[n]
		n++
		v |= uint64(c&0x7f) << shift
		if c&0x80 == 0 {
			return v, n
		}
	}
	return 0, 0
}

func newSum(f driver.Format) hash.Hash {
	if f == driver.SHA256 {
		return sha256.New()
	}
	return sha1.New() //nolint:gosec // see the import
}
