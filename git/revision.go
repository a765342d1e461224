// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/git/driver"
)

// Hash names an object.
type Hash = driver.Hash

// ParseHash reads 40 or 64 hexadecimal digits.
func ParseHash(s string) (Hash, error) { return driver.ParseHash(s) }

// Revision is a commit with the pointer that led to it.
type Revision struct {
	// Pointer is the branch, tag or reference; empty for a bare commit.
	Pointer string
	Hash    Hash
}

// String returns "main@sha1:<hex>", or "sha1:<hex>" without pointer; the zero
// Revision is the empty string.
func (r Revision) String() string {
	if r.IsZero() {
		return ""
	}
	if r.Pointer == "" {
		return r.Hash.Digest()
	}
	return r.Pointer + "@" + r.Hash.Digest()
}

// IsZero reports whether there is neither pointer nor hash.
func (r Revision) IsZero() bool { return r.Pointer == "" && r.Hash.IsZero() }

// ParseRevision reads what String writes, and the older forms
// "<pointer>/<hex>", "HEAD/<hex>" and "<hex>".
func ParseRevision(s string) (Revision, error) {
	bad := func() (Revision, error) {
		return Revision{}, fmt.Errorf("revision %q: %w", s, ErrInvalidRef)
	}
	if control(s) || len(s) > 2048 {
		return bad()
	}
	rest, pointer := s, ""
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		if h, ok := digest(s[i+1:]); ok && i > 0 {
			return Revision{Pointer: s[:i], Hash: h}, nil
		}
	}
	if h, ok := digest(s); ok {
		return Revision{Hash: h}, nil
	}
	if i := strings.LastIndexByte(s, '/'); i > 0 {
		pointer, rest = s[:i], s[i+1:]
	}
	h, err := driver.ParseHash(rest)
	if err != nil {
		return bad()
	}
	if pointer == "HEAD" {
		pointer = ""
	}
	return Revision{Pointer: pointer, Hash: h}, nil
}

// digest reads "<algorithm>:<hex>".
func digest(s string) (Hash, bool) {
	algo, hex, ok := strings.Cut(s, ":")
	if !ok {
		return Hash{}, false
	}
	h, err := driver.ParseHash(hex)
	return h, err == nil && h.Format().String() == algo
}
