// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tarball

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	blockSize  = 512
	nameSize   = 100
	prefixSize = 155
	maxOctal   = 1 << 33 // sizes from here on need PAX
)

// appendHeader appends the header of an entry, with a PAX record before it
// where ustar cannot hold it. path has a trailing slash for a directory.
func appendHeader(b []byte, path string, mode, size int64, flag byte) []byte {
	prefix, name, fits := split(path)
	var pax []byte
	if !fits {
		pax = record(pax, "path", path)
		prefix, name = "", asciiName(path)
	}
	field := size
	if size >= maxOctal {
		pax = record(pax, "size", strconv.FormatInt(size, 10))
		field = 0
	}
	if pax != nil {
		short := path
		if len(short) > 80 {
			short = short[:80]
		}
		b = appendUstar(b, "", asciiName("PaxHeaders/"+strings.TrimSuffix(short, "/")), 0o644, int64(len(pax)), 'x')
		b = append(b, pax...)
		b = append(b, make([]byte, -len(pax)&(blockSize-1))...)
	}
	return appendUstar(b, prefix, name, mode, field, flag)
}

// split cuts a path into prefix and name; fits is false where PAX is needed.
func split(path string) (prefix, name string, fits bool) {
	for i := range len(path) {
		if path[i] >= 0x80 || path[i] < 0x20 || path[i] == 0x7f {
			return "", "", false
		}
	}
	if len(path) <= nameSize {
		return "", path, true
	}
	if len(path) > prefixSize+1+nameSize {
		return "", "", false
	}
	// The last slash that leaves a name, and a prefix that is not too long.
	for i := min(len(path)-2, prefixSize); i > 0; i-- {
		if path[i] == '/' {
			if len(path)-i-1 > nameSize {
				return "", "", false
			}
			return path[:i], path[i+1:], true
		}
	}
	return "", "", false
}

// asciiName is what the name field says where PAX has the real one.
func asciiName(path string) string {
	b := []byte(path)
	if len(b) > nameSize {
		b = b[:nameSize]
	}
	for i, c := range b {
		if c >= 0x80 || c < 0x20 || c == 0x7f {
			b[i] = '_'
		}
	}
	return string(b)
}

// record appends "<length> <key>=<value>\n"; the length counts itself.
func record(b []byte, key, value string) []byte {
	n := len(key) + len(value) + 3
	total := n + len(strconv.Itoa(n))
	total = n + len(strconv.Itoa(total))
	return fmt.Appendf(b, "%d %s=%s\n", total, key, value)
}

func appendUstar(b []byte, prefix, name string, mode, size int64, flag byte) []byte {
	start := len(b)
	b = append(b, make([]byte, blockSize)...)
	h := b[start:]
	copy(h, name)
	octal(h[100:108], mode)
	octal(h[108:116], 0)
	octal(h[116:124], 0)
	octal(h[124:136], size)
	octal(h[136:148], 0)
	h[156] = flag
	copy(h[257:], "ustar\x0000")
	octal(h[329:337], 0)
	octal(h[337:345], 0)
	copy(h[345:], prefix)
	copy(h[148:156], "        ")
	sum := int64(0)
	for _, c := range h {
		sum += int64(c)
	}
	octal(h[148:155], sum)
	return b
}

// octal fills f with zero-padded digits and a NUL.
func octal(f []byte, v int64) {
	f[len(f)-1] = 0
	for i := len(f) - 2; i >= 0; i-- {
		f[i] = byte('0' + v&7)
		v >>= 3
	}
}
