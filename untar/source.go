// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"context"
	"errors"
	"io"
)

const sourceRead = 32 << 10

// source is the input, counted, limited, and ended by ctx. Its error is
// sticky.
type source struct {
	ctx   context.Context //nolint:containedctx // lives for one call
	r     io.Reader
	n     int64
	limit int64
	err   error
}

func newSource(ctx context.Context, r io.Reader, limit int64) *source {
	return &source{ctx: ctx, r: r, limit: limit}
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	p = p[:min(len(p), sourceRead)]
	if left := s.limit - s.n; int64(len(p)) > left {
		p = p[:left+1]
	}
	n, err := s.r.Read(p)
	s.n += int64(n)
	s.err = err
	if s.n > s.limit {
		s.err = &LimitError{Name: limitCompressed, Max: s.limit, Got: s.n}
		return n - 1, s.err
	}
	return n, err
}

// drain reads to the end or the limit.
func (s *source) drain() {
	buf := make([]byte, sourceRead)
	for empty := 0; empty < 100; {
		n, err := s.Read(buf)
		if err != nil {
			return
		}
		if n == 0 {
			empty++
		}
	}
}

// failure is the error that the source itself met, nil for its plain end.
func (s *source) failure() error {
	if s.err == nil || errors.Is(s.err, io.EOF) {
		return nil
	}
	return s.err
}
