// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tarball

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"

	"github.com/gitops-kit/sdk/untar/digest"
	"github.com/gitops-kit/sdk/untar/internal/deflate"
)

// Layout gkz1: every blockBytes of the tar stream are one gzip member whose
// header has a field "GK" with the length of the member.
const (
	blockBytes   = 512 << 10
	memberHeader = 20
)

var (
	encoders = sync.Pool{New: func() any { return new(deflate.Encoder) }}                                    //nolint:gochecknoglobals // buffers
	rawPool  = sync.Pool{New: func() any { b := make([]byte, 0, blockBytes); return &b }}                    //nolint:gochecknoglobals // buffers
	outPool  = sync.Pool{New: func() any { b := make([]byte, 0, blockBytes+blockBytes/64+1024); return &b }} //nolint:gochecknoglobals // buffers
)

// appendMember appends raw as one member.
func appendMember(b, raw []byte, level deflate.Level) []byte {
	start := len(b)
	b = append(b, 0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 8, 0, 'G', 'K', 4, 0, 0, 0, 0, 0)
	e := encoders.Get().(*deflate.Encoder)
	b = e.Encode(b, raw, level)
	encoders.Put(e)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(raw))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(raw)))
	binary.LittleEndian.PutUint32(b[start+16:], uint32(len(b)-start))
	return b
}

// blocks cuts the tar stream into blocks, compresses them concurrently and
// writes them in order. Goroutines live only as long as a block is on its
// way.
type blocks struct {
	w     io.Writer
	plain bool
	level deflate.Level
	limit int64

	cur   *[]byte
	slots chan struct{}
	last  chan struct{} // closed when the block before was written

	failed atomic.Bool
	err    error // set before failed
	hashes []hash.Hash
	algos  []string
	diff   hash.Hash
	size   int64
	raw    int64
}

func newBlocks(w io.Writer, o Options) (*blocks, error) {
	b := &blocks{w: w, plain: o.Compression == None, level: o.Level.deflate(), limit: o.Limits.compressed(), diff: sha256.New()}
	b.algos = o.Digests
	if len(b.algos) == 0 {
		b.algos = []string{digest.SHA256}
	}
	for _, a := range b.algos {
		h, err := digest.New(a)
		if err != nil {
			return nil, err
		}
		b.hashes = append(b.hashes, h)
	}
	b.slots = make(chan struct{}, 2*o.jobs())
	b.last = make(chan struct{})
	close(b.last)
	b.cur = rawPool.Get().(*[]byte)
	return b, nil
}

// room returns the free part of the current block, never empty.
func (b *blocks) room() []byte {
	if len(*b.cur) == blockBytes {
		b.flush()
	}
	return (*b.cur)[len(*b.cur):blockBytes]
}

// wrote marks n bytes of room as used.
func (b *blocks) wrote(n int) { *b.cur = (*b.cur)[:len(*b.cur)+n] }

// Write implements io.Writer.
func (b *blocks) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := copy(b.room(), p)
		b.wrote(n)
		p = p[n:]
	}
	if b.failed.Load() {
		return 0, b.err
	}
	return total, nil
}

// flush sends the current block on its way.
func (b *blocks) flush() {
	raw := b.cur
	b.cur = rawPool.Get().(*[]byte)
	b.slots <- struct{}{}
	before, done := b.last, make(chan struct{})
	b.last = done
	go func() {
		defer func() { close(done); <-b.slots }()
		var out *[]byte
		data := *raw
		if !b.plain && !b.failed.Load() {
			out = outPool.Get().(*[]byte)
			*out = appendMember((*out)[:0], data, b.level)
			data = *out
		}
		<-before
		b.emit(*raw, data)
		*raw = (*raw)[:0]
		rawPool.Put(raw)
		if out != nil {
			outPool.Put(out)
		}
	}()
}

// emit writes one block; blocks take turns.
func (b *blocks) emit(raw, data []byte) {
	if b.failed.Load() {
		return
	}
	_, _ = b.diff.Write(raw)
	b.raw += int64(len(raw))
	for _, h := range b.hashes {
		_, _ = h.Write(data)
	}
	b.size += int64(len(data))
	if b.size > b.limit {
		b.fail(&LimitError{Name: limitCompressed, Max: b.limit, Got: b.size})
		return
	}
	if n, err := b.w.Write(data); err != nil {
		b.fail(err)
	} else if n < len(data) {
		b.fail(io.ErrShortWrite)
	}
}

func (b *blocks) fail(err error) {
	b.err = err
	b.failed.Store(true)
}

// wait returns when every block sent so far was written, and the first
// error.
func (b *blocks) wait() error {
	<-b.last
	if b.failed.Load() {
		return b.err
	}
	return nil
}

// finish writes the rest.
func (b *blocks) finish() error {
	if len(*b.cur) > 0 {
		b.flush()
	}
	return b.wait()
}

const (
	limitExpanded   = "tar-expanded"
	limitCompressed = "tar-compressed"
	limitFile       = "tar-file"
	limitEntries    = "tar-entries"
	limitDepth      = "tar-depth"
	limitPath       = "tar-path"
	limitComponent  = "tar-component"
)
