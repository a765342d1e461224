// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"errors"
	"io"

	"github.com/klauspost/compress/zlib"
)

// source is what an inflater reads: byte by byte, so that nothing behind the
// compressed bytes is consumed.
type source interface {
	io.Reader
	io.ByteReader
}

// inflater reads zlib streams and is reused.
type inflater struct {
	z      io.ReadCloser
	buf    []byte
	tables *inflateTables
	small  []byte
}

// smallObject is how long an object may be to be inflated in one go.
const smallObject = 256 << 10

// buffered is a source that shows what it holds already.
type buffered interface {
	source
	// peek returns the bytes at hand, valid until the next call; it may get
	// more of them when need inflated bytes are hoped for.
	peek(need int) []byte
	// skip takes n of them.
	skip(n int)
}

// quick inflates an object in one go when all of its bytes are at hand; false
// means that the streaming decoder must try, and give the verdict.
func (f *inflater) quick(src buffered, dst []byte) bool {
	if len(dst) > smallObject {
		return false
	}
	if f.tables == nil {
		f.tables = new(inflateTables)
	}
	n, err := f.tables.inflate(dst, src.peek(len(dst)))
	if err != nil {
		return false
	}
	src.skip(n)
	return true
}

// scratch returns a buffer of a size that is valid until the next call.
func (f *inflater) scratch(size int64) []byte {
	if int64(cap(f.small)) < size {
		f.small = make([]byte, max(size, 16<<10))
	}
	return f.small[:size]
}

func newInflater() *inflater { return &inflater{buf: make([]byte, 32<<10)} }

func (f *inflater) open(src source, off int64) error {
	var err error
	if f.z == nil {
		f.z, err = zlib.NewReader(src)
	} else {
		err = f.z.(zlib.Resetter).Reset(src, nil)
	}
	return inflateError(err, off)
}

// whole inflates exactly size bytes and appends them to dst.
func (f *inflater) whole(src buffered, size int64, dst []byte, off int64) ([]byte, error) {
	if size <= smallObject {
		at := len(dst)
		if int64(cap(dst)-at) < size {
			dst = append(make([]byte, 0, int64(at)+size), dst...)
		}
		if f.quick(src, dst[at:int64(at)+size]) {
			return dst[:int64(at)+size], nil
		}
	}
	if err := f.open(src, off); err != nil {
		return nil, err
	}
	at := len(dst)
	for int64(len(dst)-at) < size {
		if len(dst) == cap(dst) { // grow with the data, never by the claim alone
			dst = append(dst, 0)[:len(dst)]
		}
		room := dst[len(dst):min(int64(cap(dst)), int64(at)+size)]
		n, err := f.z.Read(room)
		dst = dst[:len(dst)+n]
		if err != nil && int64(len(dst)-at) < size {
			if errors.Is(err, io.EOF) {
				return nil, malformed(off, "object shorter than declared")
			}
			return nil, inflateError(err, off)
		}
	}
	return dst, f.end(off)
}

// stream inflates exactly size bytes into w.
func (f *inflater) stream(src buffered, size int64, w io.Writer, off int64) error {
	if size <= smallObject {
		if b := f.scratch(size); f.quick(src, b) {
			_, err := w.Write(b)
			return err
		}
	}
	if err := f.open(src, off); err != nil {
		return err
	}
	for left := size; left > 0; {
		n, err := f.z.Read(f.buf[:min(left, int64(len(f.buf)))])
		left -= int64(n)
		if n > 0 {
			if _, werr := w.Write(f.buf[:n]); werr != nil {
				return werr
			}
		}
		if err != nil && left > 0 {
			if errors.Is(err, io.EOF) {
				return malformed(off, "object shorter than declared")
			}
			return inflateError(err, off)
		}
	}
	return f.end(off)
}

// end checks that the stream is over and its checksum right.
func (f *inflater) end(off int64) error {
	var one [1]byte
	for {
		n, err := f.z.Read(one[:])
		if n > 0 {
			return malformed(off, "object longer than declared")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return inflateError(err, off)
		}
	}
}

// inflateError says that a stream is cut off or malformed.
func inflateError(err error, off int64) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return cut(err, off)
	}
	return malformed(off, "%v", err)
}

// resultSize reads the size of a delta's result from the head of its
// instructions.
func (f *inflater) resultSize(src source, off int64) (int64, error) {
	if err := f.open(src, off); err != nil {
		return 0, err
	}
	var b [20]byte
	n := 0
	for n < len(b) {
		k, err := f.z.Read(b[n:])
		n += k
		if err != nil {
			break
		}
	}
	_, m := varint(b[:n])
	size, k := varint(b[m:n])
	if m == 0 || k == 0 || size > 1<<62 {
		return 0, malformed(off, "delta without sizes")
	}
	return int64(size), nil
}
