// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ignore

import "github.com/gitops-kit/sdk/untar/internal/limits"

// LimitError names the limit that an ignore file exceeded.
type LimitError = limits.LimitError

// ErrLimit matches every [LimitError].
var ErrLimit = limits.ErrLimit //nolint:errname // a sentinel shared by all modules

const (
	limitPatterns = "ignore-patterns"
	limitBytes    = "ignore-bytes"
	limitLine     = "ignore-line"
	limitDepth    = "ignore-depth"

	maxLine = 4096
)

// Limits bound what is read. In each field 0 is the default and a negative
// number is unlimited.
type Limits struct {
	// Patterns bounds the number of patterns. Default 10,000 (ignore-patterns).
	Patterns int64
	// Bytes bounds the bytes of all files together. Default 1 MiB
	// (ignore-bytes).
	Bytes int64
}

// Unlimited lists the names of the limits that are switched off.
func (l Limits) Unlimited() []string {
	var out []string
	if l.Patterns < 0 {
		out = append(out, limitPatterns)
	}
	if l.Bytes < 0 {
		out = append(out, limitBytes)
	}
	return out
}

func (l Limits) patterns() int64 { return limits.Or(l.Patterns, 10_000) }
func (l Limits) bytes() int64    { return limits.Or(l.Bytes, 1<<20) }
