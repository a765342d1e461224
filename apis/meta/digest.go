// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

import "strings"

const maxRevision = 4096

// Digest is "<algorithm>:<value>". Use [ParseDigest] to obtain one from text.
type Digest string

// hexLength is the length of the hex value of an algorithm whose form is
// known; others are checked by grammar only.
func hexLength(algorithm string) (int, bool) {
	switch algorithm {
	case "sha1":
		return 40, true
	case "sha256", "blake3":
		return 64, true
	case "sha384":
		return 96, true
	case "sha512":
		return 128, true
	}
	return 0, false
}

// ParseDigest checks s against the grammar of an artifact digest,
//
//	^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$
//
// and, for sha1, sha256, sha384, sha512 and blake3, the value for the exact
// number of lower-case hex digits. Anything else is [ErrDigest].
func ParseDigest(s string) (Digest, error) {
	if len(s) > maxRevision {
		return "", wrapped(ErrDigest, s, "too long")
	}
	algorithm, value, ok := strings.Cut(s, ":")
	if !ok || !isAlgorithm(algorithm) || !isDigestValue(value) {
		return "", wrapped(ErrDigest, s, "want <algorithm>:<value>")
	}
	if n, known := hexLength(algorithm); known && (len(value) != n || !isHex(value)) {
		return "", wrapped(ErrDigest, s, "value has the wrong length or is not lower-case hex")
	}
	return Digest(s), nil
}

// Algorithm returns what precedes the first colon, all of d without one.
func (d Digest) Algorithm() string {
	a, _, _ := strings.Cut(string(d), ":")
	return a
}

// Value returns what follows the first colon, "" without one.
func (d Digest) Value() string {
	_, v, _ := strings.Cut(string(d), ":")
	return v
}

// String returns the digest as text.
func (d Digest) String() string { return string(d) }

// Revision names a state of a source: an optional pointer (branch, tag, chart
// version, reference name) and the digest it resolved to.
//
// +kubebuilder:object:generate=false
type Revision struct {
	// Pointer is what was asked for; empty when only a digest is known.
	Pointer string
	// Digest is what it resolved to; empty when the text had none.
	Digest Digest
}

// ParseRevision reads "[<pointer>@]<algorithm>:<checksum>". Of the legacy forms
// "<pointer>/<hex>" and "<hex>" it returns what they say, with sha1 for 40 and
// sha256 for 64 digits; any other text is a pointer without digest, such as
// the version of a chart. Empty text, more than 4,096 bytes and control
// characters are [ErrRevision].
func ParseRevision(s string) (Revision, error) {
	if s == "" {
		return Revision{}, wrapped(ErrRevision, s, "empty")
	}
	if len(s) > maxRevision {
		return Revision{}, wrapped(ErrRevision, s, "too long")
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return Revision{}, wrapped(ErrRevision, s, "control character")
		}
	}
	at := strings.LastIndexByte(s, '@')
	if d, ok := parseDigestQuiet(s[at+1:]); ok {
		return Revision{Pointer: s[:max(at, 0)], Digest: d}, nil
	}
	slash := strings.LastIndexByte(s, '/')
	if d, ok := bareDigest(s[slash+1:]); ok {
		return Revision{Pointer: s[:max(slash, 0)], Digest: d}, nil
	}
	return Revision{Pointer: s}, nil
}

// String returns "<pointer>@<digest>", or the one of them there is.
func (r Revision) String() string {
	switch {
	case r.Digest == "":
		return r.Pointer
	case r.Pointer == "":
		return string(r.Digest)
	}
	return r.Pointer + "@" + string(r.Digest)
}

// Short is String with the checksum cut to n characters, at least 7.
func (r Revision) Short(n int) string {
	n = max(n, 7)
	if v := r.Digest.Value(); len(v) > n {
		r.Digest = Digest(r.Digest.Algorithm() + ":" + v[:n])
	}
	return r.String()
}

// parseDigestQuiet is ParseDigest without building an error.
func parseDigestQuiet(s string) (Digest, bool) {
	algorithm, value, ok := strings.Cut(s, ":")
	if !ok || !isAlgorithm(algorithm) || !isDigestValue(value) {
		return "", false
	}
	if n, known := hexLength(algorithm); known && (len(value) != n || !isHex(value)) {
		return "", false
	}
	return Digest(s), true
}

func bareDigest(s string) (Digest, bool) {
	if !isHex(s) {
		return "", false
	}
	switch len(s) {
	case 40:
		return Digest("sha1:" + s), true
	case 64:
		return Digest("sha256:" + s), true
	}
	return "", false
}

func isAlgorithm(s string) bool {
	alnum := false
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			alnum = true
		case (c == '.' || c == '+' || c == '_' || c == '-') && alnum:
			alnum = false
		default:
			return false
		}
	}
	return alnum
}

func isDigestValue(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '=' && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}
