// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrCut is returned by a [Stream] once its plan has ended the connection.
var ErrCut = errors.New("connection ended by a fault plan")

// Stream is a writer that applies the byte-level faults of a plan: Throttle,
// Stall, CutAfter and FlipAt. It is not safe for concurrent use.
type Stream struct {
	ctx  context.Context //nolint:containedctx // lives as long as one reply
	dst  io.Writer
	plan Plan
	cut  func()
	n    int64
	err  error
}

// NewStream returns a stream to dst. cut is called once when CutAfter is
// reached; it must end the connection. Stall and Throttle end with ctx.
func NewStream(ctx context.Context, dst io.Writer, p Plan, cut func()) *Stream {
	return &Stream{ctx: ctx, dst: dst, plan: p, cut: cut}
}

// Bytes returns the number of bytes passed on so far.
func (s *Stream) Bytes() int64 { return s.n }

// Write passes p on as the plan says. The error is [ErrCut] after a cut, the
// context's error after a stall.
func (s *Stream) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	total := len(p)
	end := s.n + int64(len(p))
	stall, cut := false, false
	if s.plan.CutAfter > 0 && end >= s.plan.CutAfter {
		p, cut = p[:s.plan.CutAfter-s.n], true
	} else if s.plan.Stall > 0 && end >= s.plan.Stall {
		p, stall = p[:s.plan.Stall-1-s.n], true
	}
	if k := s.plan.FlipAt - 1 - s.n; s.plan.FlipAt > 0 && k >= 0 && k < int64(len(p)) {
		p = append([]byte(nil), p...)
		p[k] ^= 0xff
	}
	if err := s.send(p); err != nil {
		s.err = err
		return 0, err
	}
	switch {
	case cut:
		s.err = ErrCut
		s.flush()
		s.cut()
		return len(p), s.err
	case stall:
		s.flush()
		<-s.ctx.Done()
		s.err = context.Cause(s.ctx)
		return len(p), s.err
	}
	return total, nil
}

func (s *Stream) send(p []byte) error {
	if s.plan.Throttle <= 0 {
		n, err := s.dst.Write(p)
		s.n += int64(n)
		return err
	}
	step := max(1, int(s.plan.Throttle/20))
	for len(p) > 0 {
		k := min(step, len(p))
		n, err := s.dst.Write(p[:k])
		s.n += int64(n)
		if err != nil {
			return err
		}
		s.flush()
		p = p[k:]
		if err := sleep(s.ctx, time.Duration(k)*time.Second/time.Duration(s.plan.Throttle)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stream) flush() {
	if f, ok := s.dst.(interface{ Flush() }); ok {
		f.Flush()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
