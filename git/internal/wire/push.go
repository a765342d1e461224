// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/pktline"
	"github.com/gitops-kit/sdk/git/internal/redact"
)

// Command is one change of a push.
type Command struct {
	Ref      string
	Old, New driver.Hash
}

// Push begins a push: the commands, then the options. The pack follows.
func Push(cmds []Command, caps Caps, agent string, atomic bool, options []string) []byte {
	var words []string
	for _, w := range []string{"report-status-v2", "side-band-64k"} {
		if caps.Has(w) {
			words = append(words, w)
		}
	}
	if !caps.Has("report-status-v2") && caps.Has("report-status") {
		words = append(words, "report-status")
	}
	if atomic {
		words = append(words, "atomic")
	}
	if len(options) > 0 {
		words = append(words, "push-options")
	}
	if v, ok := caps["object-format"]; ok {
		words = append(words, "object-format="+v)
	}
	if caps.Has("agent") && agent != "" {
		words = append(words, "agent="+agent)
	}
	var b []byte
	for i, c := range cmds {
		line := c.Old.String() + " " + c.New.String() + " " + c.Ref
		if i == 0 {
			line += "\x00 " + strings.Join(words, " ")
		}
		b = pktline.Append(b, line)
	}
	b = pktline.AppendFlush(b)
	if len(options) > 0 {
		for _, o := range options {
			b = pktline.Append(b, o)
		}
		b = pktline.AppendFlush(b)
	}
	return b
}

// Report is what the server says about a push.
type Report struct {
	Unpack string            // "ok" or what went wrong
	OK     map[string]bool   // by reference
	Why    map[string]string // of the rejected ones, escaped
	Text   string            // side band, escaped
}

// ErrNoReport says that the answer ended without a report.
var ErrNoReport = errors.New("no status report")

// ReadReport reads the answer to a push, banded when side-band-64k was agreed.
func ReadReport(pr *pktline.Reader, banded bool, lim Limits) (*Report, error) {
	r := &Report{OK: map[string]bool{}, Why: map[string]string{}}
	if !banded {
		return r, r.read(pr)
	}
	b := &band{pr: pr, lim: lim.Sideband}
	err := r.read(pktline.NewReader(b))
	if err == nil {
		_, err = io.CopyN(io.Discard, b, 1) // to the flush, for the text that may follow
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	r.Text = redact.Text(string(bytes.TrimSpace(b.text)), 1024)
	return r, err
}

// maxReport bounds a report in bytes.
const maxReport = 16 << 20

func (r *Report) read(pr *pktline.Reader) error {
	began := pr.Consumed()
	for n := 0; ; n++ {
		kind, line, err := pr.Next()
		if err != nil {
			if n == 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
				return ErrNoReport
			}
			return unexpected(err)
		}
		if kind == pktline.Flush {
			if n == 0 {
				return ErrNoReport
			}
			return nil
		}
		if kind != pktline.Data || n > maxLines || pr.Consumed()-began > maxReport {
			return fmt.Errorf("status report: %w", ErrProtocol)
		}
		if err := r.line(string(pktline.TrimLF(line)), n == 0); err != nil {
			return err
		}
	}
}

func (r *Report) line(s string, first bool) error {
	word, rest, _ := strings.Cut(s, " ")
	switch {
	case word == "ERR":
		return Remote([]byte(rest))
	case first && word == "unpack":
		r.Unpack = redact.Text(rest, 512)
	case first:
		return fmt.Errorf("status report: %w", ErrProtocol)
	case word == "ok":
		r.OK[rest] = true
	case word == "ng":
		ref, why, _ := strings.Cut(rest, " ")
		r.Why[ref] = redact.Text(why, 512)
	case word == "option":
	default:
		return fmt.Errorf("status report: %w", ErrProtocol)
	}
	return nil
}
