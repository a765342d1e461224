// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"
)

const (
	blockSize = 512
	chunkSize = 64 << 10
	readAhead = 4 // decoded chunks that wait for the parser
)

// chunk is a piece of decompressed data on its way to the parser.
type chunk struct {
	buf  []byte
	err  error // after buf
	free func([]byte)
}

// stream is the decompressed tar stream, produced by another goroutine.
type stream struct {
	out   chan chunk
	stop  chan struct{}
	group sync.WaitGroup

	cur   chunk
	at    int
	total int64 // bytes handed to the parser
	limit int64
	err   error
	block [blockSize]byte // a header that straddles two chunks
}

// openStream looks at the magic and starts to decompress.
func openStream(src *source, o Options) (*stream, error) {
	br := bufio.NewReaderSize(src, sourceRead)
	produce, err := choose(br, src, o)
	if err != nil {
		return nil, err
	}
	s := &stream{out: make(chan chunk, readAhead), stop: make(chan struct{}), limit: o.Limits.expanded()}
	s.group.Go(func() {
		defer close(s.out)
		if err := produce(s); err != nil {
			s.send(chunk{err: err})
		}
	})
	return s, nil
}

// choose returns the decompressor for what br begins with.
func choose(br *bufio.Reader, src *source, o Options) (func(*stream) error, error) {
	head, err := br.Peek(blockSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	plain := func(s *stream) error { return s.copy(br) }
	if o.Compression == None {
		return plain, nil
	}
	if len(head) == 0 {
		return nil, invalid("empty input: %w", io.ErrUnexpectedEOF)
	}
	format := magic(head)
	switch {
	case format == "gzip" && o.Compression != Zstd:
		return (&gunzip{br: br, src: src, jobs: jobs(o.Jobs)}).run, nil
	case format == "zstd" && o.Compression == Zstd:
		return func(s *stream) error { return unzstd(s, br, src) }, nil
	case len(head) == blockSize && (checksumOK(head) || allZero(head)):
		if o.Compression == Auto {
			return plain, nil
		}
	case format != "":
		return nil, unsupported("compression format " + format)
	case o.Compression == Auto:
		return nil, invalid("neither gzip nor tar")
	}
	return nil, ErrNotCompressed
}

// magic names the compression format that data begins with.
func magic(b []byte) string {
	for _, f := range []struct{ name, magic string }{
		{"gzip", "\x1f\x8b"},
		{"zip", "PK\x03\x04"},
		{"zip", "PK\x05\x06"},
		{"xz", "\xfd7zXZ\x00"},
		{"bzip2", "BZh"},
		{"zstd", "\x28\xb5\x2f\xfd"},
		{"s2", "\xff\x06\x00\x00S2sTwO"},
		{"snappy", "\xff\x06\x00\x00sNaPpY"},
		{"lz4", "\x04\x22\x4d\x18"},
		{"compress", "\x1f\x9d"},
		{"7z", "7z\xbc\xaf\x27\x1c"},
	} {
		if bytes.HasPrefix(b, []byte(f.magic)) {
			return f.name
		}
	}
	return ""
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// send passes a chunk on; false when the parser has gone.
func (s *stream) send(c chunk) bool {
	select {
	case <-s.stop:
		return false
	case s.out <- c:
		return true
	}
}

var errStopped = errors.New("reader has gone")

var chunkPool = sync.Pool{New: func() any { b := make([]byte, chunkSize); return &b }} //nolint:gochecknoglobals // buffers

// copy passes on all of r.
func (s *stream) copy(r io.Reader) error {
	for {
		b := *chunkPool.Get().(*[]byte)
		n, err := readFull(r, b)
		if n > 0 && !s.send(chunk{buf: b[:n], free: func(b []byte) { b = b[:chunkSize]; chunkPool.Put(&b) }}) {
			return errStopped
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readFull fills p unless r ends or fails; the error is r's own.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = r.Read(p[n:])
		n += k
	}
	return n, err
}

// close ends the producer and waits for it.
func (s *stream) close() {
	close(s.stop)
	for c := range s.out {
		if c.free != nil {
			c.free(c.buf)
		}
	}
	s.group.Wait()
}

// fill makes the next chunk current. At the end of the stream it returns
// io.EOF.
func (s *stream) fill() error {
	for s.at == len(s.cur.buf) {
		if s.err != nil {
			return s.err
		}
		if s.cur.free != nil {
			s.cur.free(s.cur.buf)
		}
		c, ok := <-s.out
		s.cur, s.at = c, 0
		if !ok {
			s.cur, s.err = chunk{}, io.EOF
			return s.err
		}
		s.err = c.err
		if left := s.limit - s.total; int64(len(c.buf)) > left {
			s.total += left + 1
			s.cur.buf = c.buf[:left]
			s.err = &LimitError{Name: limitExpanded, Max: s.limit, Got: s.total}
			continue
		}
		s.total += int64(len(c.buf))
	}
	return nil
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if err := s.fill(); err != nil {
		return 0, err
	}
	n := copy(p, s.cur.buf[s.at:])
	s.at += n
	return n, nil
}

// next returns the next block of 512 bytes, valid until the next call. At
// the end it returns io.EOF; inside a block io.ErrUnexpectedEOF.
func (s *stream) next() ([]byte, error) {
	if err := s.fill(); err != nil {
		return nil, err
	}
	if s.at+blockSize <= len(s.cur.buf) {
		b := s.cur.buf[s.at : s.at+blockSize]
		s.at += blockSize
		return b, nil
	}
	n, err := readFull(s, s.block[:])
	if n == blockSize {
		return s.block[:], nil
	}
	if errors.Is(err, io.EOF) {
		err = invalid("%w", io.ErrUnexpectedEOF)
	}
	return nil, err
}

// skip passes over n bytes.
func (s *stream) skip(n int64) error {
	for n > 0 {
		if err := s.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				err = invalid("%w", io.ErrUnexpectedEOF)
			}
			return err
		}
		k := min(n, int64(len(s.cur.buf)-s.at))
		s.at += int(k)
		n -= k
	}
	return nil
}

// body is the content of one entry.
type body struct {
	s    *stream
	left int64
}

// Read implements io.Reader; a stream that ends inside is an error.
func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.s.Read(p)
	b.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = invalid("%w", io.ErrUnexpectedEOF)
	}
	return n, err
}

// WriteTo hands out the content in the pieces in which it arrives.
func (b *body) WriteTo(w io.Writer) (n int64, err error) {
	for b.left > 0 {
		if err := b.s.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				err = invalid("%w", io.ErrUnexpectedEOF)
			}
			return n, err
		}
		p := b.s.cur.buf[b.s.at:]
		p = p[:min(int64(len(p)), b.left)]
		k, err := w.Write(p)
		b.s.at += k
		b.left -= int64(k)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
