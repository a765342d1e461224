// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package worktree

import (
	"runtime"
	"strings"
	"unicode/utf8"
)

// Unsafe reports whether a name of a tree entry must not become a file name,
// on any system, because some system would read it as the repository's own
// directory or as a step out of the tree.
func Unsafe(name string) bool {
	if unsafePart(name) {
		return true
	}
	if strings.IndexByte(name, '\\') >= 0 {
		for part := range strings.SplitSeq(name, `\`) {
			if unsafePart(part) {
				return true
			}
		}
	}
	return runtime.GOOS == "windows" && unsafeOnWindows(name)
}

func unsafePart(s string) bool {
	if s == "." || s == ".." || strings.IndexByte(s, 0) >= 0 {
		return true
	}
	if len(s) < 4 {
		return false
	}
	switch s[0] {
	case '.', 'g', 'G':
	default:
		if s[0] < utf8.RuneSelf {
			return false
		}
	}
	return looksLikeGit(s)
}

func looksLikeGit(s string) bool {
	if head, _, stream := strings.Cut(s, ":"); stream && isGit(strings.TrimRight(head, ". ")) {
		return true
	}
	if isGit(strings.TrimRight(s, ". ")) {
		return true
	}
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return isGit(strings.TrimRight(strings.Map(dropIgnorable, s), ". "))
		}
	}
	return false
}

func isGit(s string) bool {
	if len(s) == 4 {
		return strings.EqualFold(s, ".git")
	}
	return len(s) == 5 && strings.EqualFold(s[:4], "git~") && s[4] >= '0' && s[4] <= '9'
}

// dropIgnorable removes the code points that HFS+ ignores when it compares.
func dropIgnorable(r rune) rune {
	switch {
	case r >= 0x200c && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f, r == 0xfeff:
		return -1
	}
	return r
}

func unsafeOnWindows(s string) bool {
	if strings.ContainsAny(s, `:\`) || strings.HasSuffix(s, ".") || strings.HasSuffix(s, " ") {
		return true
	}
	stem, _, _ := strings.Cut(s, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	return len(stem) == 4 && (strings.HasPrefix(stem, "COM") || strings.HasPrefix(stem, "LPT")) && stem[3] >= '0' && stem[3] <= '9'
}
