// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

// Inflate exposes the fast decoder.
func Inflate(dst, src []byte) (int, error) { return new(inflateTables).inflate(dst, src) }

// ErrInput and ErrCorrupt are its verdicts.
var (
	ErrInput   = errInput
	ErrCorrupt = errCorrupt
)

// Apply exposes delta application.
func Apply(base, delta []byte) ([]byte, error) { return apply(base, delta, 0) }
