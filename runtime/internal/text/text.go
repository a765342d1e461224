// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package text makes foreign text safe to show: control and bidi characters
// are escaped, length is bounded.
package text

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape replaces control characters other than newline and tab, bidi controls
// and invalid UTF-8 by escapes. It stops after limit bytes of output plus one
// escape; the caller cuts.
func Escape(s string, limit int) string {
	if clean(s) {
		return s
	}
	var b strings.Builder
	b.Grow(min(len(s), limit) + 16)
	for i := 0; i < len(s) && b.Len() <= limit; {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n <= 1:
			fmt.Fprintf(&b, "\\x%02x", s[i])
		case unsafe(r):
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// Cut returns s if it has at most limit bytes, else a prefix that ends at a
// rune boundary followed by mark; the result has at most limit bytes.
func Cut(s string, limit int, mark string) string {
	if len(s) <= limit {
		return s
	}
	n := max(limit-len(mark), 0)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + mark
}

func clean(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || c < 0x20 && c != '\n' && c != '\t' || c == 0x7f {
			return cleanRunes(s)
		}
	}
	return true
}

func cleanRunes(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unsafe(r) {
			return false
		}
	}
	return true
}

func unsafe(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
}
