// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"sync"

	"github.com/gitops-kit/sdk/untar/internal/deflate"
	"github.com/klauspost/compress/flate"
)

const (
	gkHeader  = 20      // fixed header and the GK field
	gkMax     = 1 << 20 // longest member that is decoded apart
	gkMaxData = 1 << 20 // and the most it may expand to
	gkLeast   = gkHeader + 8
)

// gunzip decodes all members of a gzip stream. Members that state their
// length (package tarball writes such) are read as a whole and decoded
// concurrently; at the first that is not what it says, decoding goes on
// sequentially from there, and that verdict counts.
type gunzip struct {
	br      *bufio.Reader
	src     *source
	jobs    int
	pending []*member
}

// member is a gzip member in memory.
type member struct {
	in, out []byte
	bad     bool
	done    chan struct{}
}

var (
	inPool   = bytesPool(gkMax + deflate.Slack)                            //nolint:gochecknoglobals // buffers
	outPool  = bytesPool(gkMaxData + deflate.Slack)                        //nolint:gochecknoglobals // buffers
	decoders = &sync.Pool{New: func() any { return new(deflate.Decoder) }} //nolint:gochecknoglobals // tables
)

func bytesPool(size int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, size); return &b }}
}

func (g *gunzip) run(s *stream) error {
	for {
		m := g.peek()
		if m == nil {
			break
		}
		g.pending = append(g.pending, m)
		s.group.Go(m.decode)
		if len(g.pending) > g.jobs {
			if done, err := g.deliver(s); done || err != nil {
				return err
			}
		}
	}
	for len(g.pending) > 0 {
		if done, err := g.deliver(s); done || err != nil {
			return err
		}
	}
	return g.sequential(s, false)
}

// peek reads the next member if it states a plausible length, else returns
// nil. A member that is cut short comes back as far as it goes.
func (g *gunzip) peek() *member {
	head, err := g.br.Peek(gkHeader)
	if err != nil {
		return nil // the sequential decoder meets the error again
	}
	if !bytes.HasPrefix(head, []byte("\x1f\x8b\x08\x04")) || string(head[10:16]) != "\x08\x00GK\x04\x00" {
		return nil
	}
	size := binary.LittleEndian.Uint32(head[16:])
	if size < gkLeast || size > gkMax {
		return nil
	}
	m := &member{in: *inPool.Get().(*[]byte), done: make(chan struct{})}
	n, _ := readFull(g.br, m.in[:size]) // the source keeps its error
	m.in = m.in[:n]
	m.bad = n < int(size)
	return m
}

// decode fills out, or marks the member bad.
func (m *member) decode() {
	defer close(m.done)
	if m.bad {
		return
	}
	d := decoders.Get().(*deflate.Decoder)
	defer decoders.Put(d)
	out := *outPool.Get().(*[]byte)
	n, read, ok := d.Decode(out[:gkMaxData], m.in[gkHeader:])
	m.out = out[:n]
	tail := m.in[len(m.in)-8:]
	m.bad = !ok || read != len(m.in)-gkLeast ||
		binary.LittleEndian.Uint32(tail) != crc32.ChecksumIEEE(m.out) ||
		binary.LittleEndian.Uint32(tail[4:]) != uint32(n)
}

func (m *member) release() {
	in := m.in[:cap(m.in)]
	inPool.Put(&in)
	m.in = nil
	if m.out != nil {
		releaseOut(m.out)
	}
}

func releaseOut(b []byte) {
	b = b[:cap(b)]
	outPool.Put(&b)
}

// deliver passes on the oldest member. If that is bad, it decodes everything
// from there on in sequence and reports that it is done.
func (g *gunzip) deliver(s *stream) (done bool, err error) {
	m := g.pending[0]
	<-m.done
	if !m.bad {
		g.pending = g.pending[1:]
		out := m.out
		m.out = nil
		m.release()
		if !s.send(chunk{buf: out, free: releaseOut}) {
			return true, errStopped
		}
		return false, nil
	}
	var raw []io.Reader
	for _, p := range g.pending {
		<-p.done
		raw = append(raw, bytes.NewReader(p.in))
	}
	g.br = bufio.NewReaderSize(io.MultiReader(append(raw, g.br)...), sourceRead)
	err = g.sequential(s, true)
	for _, p := range g.pending {
		p.release()
	}
	g.pending = nil
	return true, err
}

// sequential decodes member after member to the end of the input. must says
// that a member has to follow.
func (g *gunzip) sequential(s *stream, must bool) error {
	fr := flate.NewReader(g.br)
	for {
		more, err := g.another(must)
		if err != nil || !more {
			return err
		}
		must = false
		if err := g.header(); err != nil {
			return g.truncated(err, "gzip header")
		}
		if err := fr.(flate.Resetter).Reset(g.br, nil); err != nil {
			return err
		}
		if err := g.member(s, fr); err != nil {
			return err
		}
	}
}

func (g *gunzip) member(s *stream, fr io.Reader) error {
	sum, size := uint32(0), uint32(0)
	for {
		b := *chunkPool.Get().(*[]byte)
		n, err := readFull(fr, b)
		sum = crc32.Update(sum, crc32.IEEETable, b[:n])
		size += uint32(n)
		if !s.send(chunk{buf: b[:n], free: func(b []byte) { b = b[:chunkSize]; chunkPool.Put(&b) }}) {
			return errStopped
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return g.truncated(err, "compressed data")
		}
	}
	var tail [8]byte
	if _, err := io.ReadFull(g.br, tail[:]); err != nil {
		return g.truncated(err, "gzip trailer")
	}
	if binary.LittleEndian.Uint32(tail[:]) != sum || binary.LittleEndian.Uint32(tail[4:]) != size {
		return invalid("gzip checksum or length does not match")
	}
	return nil
}

// truncated explains an error inside a member: the source's own goes first.
func (g *gunzip) truncated(err error, where string) error {
	if own := g.src.failure(); own != nil {
		return own
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("%s: %w", where, io.ErrUnexpectedEOF)
	}
	if isContent(err) {
		return err
	}
	return invalid("%s: %w", where, err)
}

// another reports whether a member follows. What is neither a member nor
// zero padding up to the end is an error.
func (g *gunzip) another(must bool) (bool, error) {
	head, err := g.br.Peek(2)
	if len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		return true, nil
	}
	if must || (len(head) == 2 && head[0] == 0x1f) {
		return false, g.truncated(io.ErrUnexpectedEOF, "gzip header")
	}
	if len(head) < 2 && err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	for {
		c, err := g.br.ReadByte()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if c != 0 {
			return false, invalid("data after the last gzip member")
		}
	}
}

const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
	flagReserved  = 0xe0
)

// header reads a member's header.
func (g *gunzip) header() error {
	var head [10]byte
	if _, err := io.ReadFull(g.br, head[:]); err != nil {
		return err
	}
	flags := head[3]
	if head[2] != 8 || flags&flagReserved != 0 {
		return invalid("unknown gzip method or flags")
	}
	sum := crc32.ChecksumIEEE(head[:])
	if flags&flagExtra != 0 {
		var size [2]byte
		if _, err := io.ReadFull(g.br, size[:]); err != nil {
			return err
		}
		extra := make([]byte, binary.LittleEndian.Uint16(size[:]))
		if _, err := io.ReadFull(g.br, extra); err != nil {
			return err
		}
		sum = crc32.Update(crc32.Update(sum, crc32.IEEETable, size[:]), crc32.IEEETable, extra)
	}
	for _, flag := range []byte{flagName, flagComment} {
		if flags&flag == 0 {
			continue
		}
		for one := [1]byte{1}; one[0] != 0; {
			var err error
			if one[0], err = g.br.ReadByte(); err != nil {
				return err
			}
			sum = crc32.Update(sum, crc32.IEEETable, one[:])
		}
	}
	if flags&flagHeaderCRC != 0 {
		var want [2]byte
		if _, err := io.ReadFull(g.br, want[:]); err != nil {
			return err
		}
		if binary.LittleEndian.Uint16(want[:]) != uint16(sum) {
			return invalid("gzip header checksum does not match")
		}
	}
	return nil
}
