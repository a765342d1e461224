// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"bytes"
	"errors"
	"io"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
)

// Open returns the object at an offset as a stream; built says that it is
// whole in memory already, as deltas and small objects are.
func (x *Indexed) Open(off int64, lim ReadLimits) (t driver.Type, size int64, body io.ReadCloser, built []byte, err error) {
	var r *indexedReader
	select {
	case r = <-x.readers:
	default:
		r = &indexedReader{win: window{r: x.file}, inf: newInflater()}
	}
	s := &stream{x: x, r: r, off: off}
	if off < 12 || off >= x.size {
		return 0, 0, nil, nil, errors.Join(malformed(off, "offset outside the pack"), s.Close())
	}
	r.win.seek(off)
	kind, size, _, err := x.head(r, off)
	if err != nil {
		return 0, 0, nil, nil, errors.Join(err, s.Close())
	}
	if err := limits.Check("git-object", lim.Object, size); err != nil {
		return 0, 0, nil, nil, errors.Join(err, s.Close())
	}
	if kind == kindOfs || kind == kindRef || size <= smallObject {
		t, b, err := x.read(r, off, lim)
		return t, int64(len(b)), io.NopCloser(bytes.NewReader(b)), b, errors.Join(err, s.Close())
	}
	if err := r.inf.open(&r.win, off); err != nil {
		return 0, 0, nil, nil, errors.Join(err, s.Close())
	}
	s.left = size
	return driver.Type(kind), size, s, nil, nil
}

// stream is one inflating object.
type stream struct {
	x         *Indexed
	r         *indexedReader
	left, off int64
}

// Read implements io.Reader.
func (s *stream) Read(b []byte) (int, error) {
	if s.left == 0 || s.r == nil {
		return 0, io.EOF
	}
	n, err := s.r.inf.z.Read(b[:min(int64(len(b)), s.left)])
	s.left -= int64(n)
	switch {
	case s.left == 0:
		return n, nil
	case errors.Is(err, io.EOF):
		return n, malformed(s.off, "object shorter than declared")
	}
	return n, inflateError(err, s.off)
}

// Close gives the inflater back.
func (s *stream) Close() error {
	if s.r != nil {
		select {
		case s.x.readers <- s.r:
		default:
		}
		s.r = nil
	}
	return nil
}
