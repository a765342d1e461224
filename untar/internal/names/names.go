// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package names judges the components of a path.
package names

import "strings"

// Unsafe says why a component must not be used, "" if it may: "..", also for
// a reader that takes "\" for "/", and in the first component a drive letter
// or what such a reader takes for an absolute path.
func Unsafe(c string, first bool) string {
	if first {
		if Drive(c) {
			return "drive letter"
		}
		if c != "" && c[0] == '\\' {
			return "absolute name"
		}
	}
	for more := true; more; {
		var part string
		part, c, more = strings.Cut(c, `\`)
		if part == ".." {
			return `name contains ".."`
		}
	}
	return ""
}

// Drive reports whether a path begins with a drive letter.
func Drive(p string) bool {
	return len(p) >= 2 && p[1] == ':' && (p[0]|0x20) >= 'a' && (p[0]|0x20) <= 'z'
}
