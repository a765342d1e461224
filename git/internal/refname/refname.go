// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package refname judges reference names as git check-ref-format does.
package refname

import "strings"

// MaxLength bounds a name in bytes.
const MaxLength = 1024

// Valid reports whether s is a full reference name: below refs/ and well
// formed.
func Valid(s string) bool {
	return strings.HasPrefix(s, "refs/") && WellFormed(s)
}

// WellFormed reports whether s passes git check-ref-format: at least two
// components, none beginning with a dot or ending in ".lock", no "..", no
// control byte, none of the characters that revisions use, no trailing dot, no
// "@{", no "//".
func WellFormed(s string) bool {
	return strings.IndexByte(s, '/') > 0 && components(s)
}

// Component reports whether s could stand below a prefix such as refs/heads/.
func Component(s string) bool { return s != "@" && components(s) }

func components(s string) bool {
	if s == "" || len(s) > MaxLength || s == "@" || s[len(s)-1] == '.' {
		return false
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '/' {
			if !allowed(s, i) {
				return false
			}
			continue
		}
		c := s[start:i]
		if c == "" || c[0] == '.' || strings.HasSuffix(c, ".lock") {
			return false
		}
		start = i + 1
	}
	return true
}

func allowed(s string, i int) bool {
	c := s[i]
	switch {
	case c < 0x20 || c == 0x7f:
		return false
	case c == '.' && i+1 < len(s) && s[i+1] == '.':
		return false
	case c == '@' && i+1 < len(s) && s[i+1] == '{':
		return false
	}
	return !strings.ContainsRune(" ~^:?*[\\", rune(c))
}

// ValidBytes is [Valid] without a copy.
func ValidBytes(b []byte) bool {
	if len(b) < 6 || string(b[:5]) != "refs/" || len(b) > MaxLength || b[len(b)-1] == '.' {
		return false
	}
	start := 0
	for i := 0; i <= len(b); i++ {
		if i < len(b) {
			if c := b[i]; c != '/' {
				if bad[c] || c == '.' && i+1 < len(b) && b[i+1] == '.' || c == '@' && i+1 < len(b) && b[i+1] == '{' {
					return false
				}
				continue
			}
		}
		c := b[start:i]
		if len(c) == 0 || c[0] == '.' || len(c) >= 5 && string(c[len(c)-5:]) == ".lock" {
			return false
		}
		start = i + 1
	}
	return true
}

// bad holds the bytes that no name may have.
var bad = func() (t [256]bool) { //nolint:gochecknoglobals // a table that never changes
	for c := range 0x20 {
		t[c] = true
	}
	for _, c := range "\x7f ~^:?*[\\" {
		t[c] = true
	}
	return t
}()
