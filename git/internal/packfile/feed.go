// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"errors"
	"hash"
	"io"
	"os"
	"sync"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
)

// feed hands the stream to the parser while a goroutine of its own reads
// ahead, writes the file and computes the checksum.
type feed struct {
	chunks chan []byte
	free   chan []byte
	quit   chan struct{}
	done   chan struct{}
	once   sync.Once

	cur  []byte
	base int64 // offset of cur[0]
	pos  int

	// Set by the goroutine, read after done.
	err   error
	total int64
	sum   []byte
}

func newFeed(r io.Reader, w *os.File, maxBytes int64, f driver.Format, progress func(int)) *feed {
	in := &feed{chunks: make(chan []byte, 3), free: make(chan []byte, 4), quit: make(chan struct{}), done: make(chan struct{})}
	for range 4 {
		in.free <- make([]byte, chunkSize)
	}
	go in.pump(r, w, maxBytes, f, progress)
	return in
}

func (in *feed) pump(r io.Reader, w *os.File, maxBytes int64, f driver.Format, progress func(int)) {
	defer close(in.done)
	defer close(in.chunks)
	h := newSum(f)
	tail := make([]byte, 0, 2*f.Size()) // the last bytes seen, not hashed: they may be the trailer
	for {
		var buf []byte
		select {
		case buf = <-in.free:
		case <-in.quit:
			return
		}
		n, err := fillSome(r, buf[:chunkSize])
		if n > 0 {
			in.total += int64(n)
			if progress != nil {
				progress(n)
			}
			if in.err = limits.Check("git-pack", maxBytes, in.total); in.err != nil {
				return
			}
			tail = hashAllBut(h, tail, buf[:n], f.Size())
			if _, in.err = w.Write(buf[:n]); in.err != nil {
				return
			}
			if err != nil {
				in.sum = h.Sum(nil)
			}
			select {
			case in.chunks <- buf[:n]:
			case <-in.quit:
				return
			}
		}
		if err != nil {
			in.sum = h.Sum(nil)
			if !errors.Is(err, io.EOF) {
				in.err = err
			}
			return
		}
	}
}

// fillSome reads until the buffer is at least half full, so that a stream of
// small packets does not become a stream of small chunks.
func fillSome(r io.Reader, buf []byte) (int, error) {
	n, empty := 0, 0
	for n < len(buf)/2 {
		k, err := r.Read(buf[n:])
		n += k
		if err != nil {
			return n, err
		}
		if k > 0 {
			empty = 0
		} else if empty++; empty > 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// hashAllBut hashes everything except the last keep bytes, which it returns.
func hashAllBut(h hash.Hash, tail, b []byte, keep int) []byte {
	if len(b) >= keep {
		_, _ = h.Write(tail)
		_, _ = h.Write(b[:len(b)-keep])
		return append(tail[:0], b[len(b)-keep:]...)
	}
	tail = append(tail, b...)
	if over := len(tail) - keep; over > 0 {
		_, _ = h.Write(tail[:over])
		tail = append(tail[:0], tail[over:]...)
	}
	return tail
}

// stop ends the goroutine and returns what it met. When early is set the
// stream was not read to its end.
func (in *feed) stop(early bool) error {
	in.once.Do(func() { close(in.quit) })
	if early {
		// The goroutine may sit in a Read; what it met so far is all that counts.
		select {
		case <-in.done:
		default:
			return nil
		}
	}
	<-in.done
	return in.err
}

// digest is the checksum of everything but the trailer; valid after the end.
func (in *feed) digest() []byte {
	<-in.done
	return in.sum
}

func (in *feed) offset() int64 { return in.base + int64(in.pos) }

func (in *feed) more() error {
	if in.cur != nil {
		in.base += int64(len(in.cur))
		buf := in.cur[:cap(in.cur)]
		in.cur, in.pos = nil, 0
		select {
		case in.free <- buf:
		default:
		}
	}
	c, ok := <-in.chunks
	if !ok {
		<-in.done
		if in.err != nil {
			return in.err
		}
		return io.EOF
	}
	in.cur, in.pos = c, 0
	return nil
}

// ReadByte implements io.ByteReader.
func (in *feed) ReadByte() (byte, error) {
	for in.pos >= len(in.cur) {
		if err := in.more(); err != nil {
			return 0, err
		}
	}
	c := in.cur[in.pos]
	in.pos++
	return c, nil
}

// Read implements io.Reader.
func (in *feed) Read(b []byte) (int, error) {
	if in.pos >= len(in.cur) {
		if err := in.more(); err != nil {
			return 0, err
		}
	}
	n := copy(b, in.cur[in.pos:])
	in.pos += n
	return n, nil
}

// peek implements buffered.
func (in *feed) peek(int) []byte { return in.cur[in.pos:] }

// skip implements buffered.
func (in *feed) skip(n int) { in.pos += n }
