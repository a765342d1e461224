// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"bytes"
	"os"
)

// Inflate exposes the fast decoder.
func Inflate(dst, src []byte) (int, error) { return new(inflateTables).inflate(dst, src) }

// ErrInput and ErrCorrupt are its verdicts.
var (
	ErrInput   = errInput
	ErrCorrupt = errCorrupt
)

// Apply exposes delta application.
func Apply(base, delta []byte) ([]byte, error) { return apply(nil, base, delta, 0) }

// Resolved is how many bytes were inflated or put together for deltas when the
// pack came.
func (p *Pack) Resolved() int64 { return p.resolved }

// Patch exposes delta application piece by piece, with the base in memory or
// in a file.
func Patch(base, delta []byte, name string) ([]byte, error) {
	b := body{size: int64(len(base)), mem: base}
	if name != "" {
		if err := os.WriteFile(name, append([]byte("before"), base...), 0o600); err != nil {
			return nil, err
		}
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		b = body{size: int64(len(base)), file: f, off: 6}
	}
	var w appender
	if err := new(patcher).patch(&w, &b, bytes.NewReader(delta), int64(len(delta)), 0); err != nil {
		return nil, err
	}
	return w.b, nil
}
