// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package redact keeps secrets and control characters out of errors, logs,
// events and conditions.
package redact

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Mask stands wherever a secret would have been printed.
const Mask = "***"

// Secret holds a value that no formatting verb, encoder or logger prints. The
// zero value is the empty secret. Safe for concurrent use.
type Secret struct{ value *string }

// NewSecret wraps s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{value: &s}
}

// Reveal returns the value; call it where the value is used, not earlier.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.value == nil }

// String returns the mask.
func (s Secret) String() string { return Mask }

// GoString returns the mask.
func (s Secret) GoString() string { return Mask }

// Format writes the mask for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Mask) }

// MarshalText encodes the mask.
func (s Secret) MarshalText() ([]byte, error) { return []byte(Mask), nil }

// MarshalJSON encodes the mask.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + Mask + `"`), nil }

// LogValue logs the mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(Mask) }

// URL returns s without userinfo, query and fragment. What cannot be parsed
// is replaced as a whole, because nobody knows where its secret ends.
func URL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "invalid-url"
	}
	u.User, u.RawQuery, u.Fragment, u.ForceQuery, u.RawFragment = nil, "", "", false, ""
	if u.Opaque != "" {
		u.Opaque = Mask
	}
	return Text(u.String(), 2048)
}

// Text makes foreign text safe to show on one line: control characters,
// bidirectional controls and invalid UTF-8 are escaped, and the result is cut
// at a rune boundary to at most max bytes, ending in "...". max ≤ 0: 1,024.
func Text(s string, max int) string {
	if max <= 0 {
		max = 1024
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteByte(' ')
		case unsafeRune(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		if i += n; b.Len() > max {
			break
		}
	}
	return cut(b.String(), max)
}

func unsafeRune(r rune) bool {
	return r < 0x20 || r >= 0x7f && r <= 0x9f || r == 0x061c || r == 0x200e || r == 0x200f ||
		r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
}

func cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	const dots = "..."
	if max <= len(dots) {
		return dots[:max]
	}
	s = s[:max-len(dots)]
	for len(s) > 0 && !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + dots
}
