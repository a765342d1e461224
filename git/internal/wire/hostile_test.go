// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/internal/pktline"
	"github.com/gitops-kit/sdk/git/internal/wire"
	. "github.com/onsi/gomega"
)

// endless repeats what line gives for 0, 1, 2 … and counts what was taken.
type endless struct {
	line func(n int) string
	n    int
	rest []byte
	took int64
	most int64 // reading ends there, in vain
}

func (e *endless) Read(b []byte) (int, error) {
	if e.took > e.most {
		return 0, io.ErrNoProgress
	}
	for len(e.rest) == 0 {
		e.rest = pktline.Append(e.rest[:0], e.line(e.n))
		e.n++
	}
	n := copy(b, e.rest)
	e.rest, e.took = e.rest[n:], e.took+int64(n)
	return n, nil
}

// A server of version 0 that never ends a list is stopped, as one of
// version 2 is.
func TestEndlessV0(t *testing.T) {
	for name, line := range map[string]func(int) string{
		"Shallow":     func(n int) string { return fmt.Sprintf("shallow %040x\n", n) },
		"Unshallow":   func(n int) string { return fmt.Sprintf("unshallow %040x\n", n) },
		"Acknowledge": func(int) string { return "NAK\n" },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			src := &endless{line: line, most: 200 << 20}
			_, err := wire.ReadV0(pktline.NewReader(src), wire.Caps{"side-band-64k": ""}, name != "Acknowledge", lim)
			g.Expect(errors.Is(err, wire.ErrProtocol)).To(BeTrue(), "%v", err)
		})
	}
}

// GIT-96: a report is bounded in bytes, with side bands and without.
func TestEndlessReport(t *testing.T) {
	g := NewWithT(t)
	long := strings.Repeat("r", 60_000)
	src := &endless{most: 100 << 20, line: func(n int) string {
		if n == 0 {
			return "unpack ok\n"
		}
		return fmt.Sprintf("ok refs/heads/%d%s\n", n, long)
	}}
	_, err := wire.ReadReport(pktline.NewReader(src), false, lim)
	g.Expect(errors.Is(err, wire.ErrProtocol)).To(BeTrue(), "%v", err)
	g.Expect(src.took).To(BeNumerically("<", 17<<20))
}
