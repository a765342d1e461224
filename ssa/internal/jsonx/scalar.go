// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package jsonx

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

func (d *Decoder) number() (any, error) {
	start := d.pos
	float := false
	for d.pos < len(d.src) {
		switch c := d.src[d.pos]; {
		case c >= '0' && c <= '9' || c == '-':
		case c == '+' || c == '.' || c == 'e' || c == 'E':
			float = true
		default:
			goto done
		}
		d.pos++
	}
done:
	s := d.src[start:d.pos]
	if !validNumber(s) {
		return nil, d.bad("not a value")
	}
	if !float {
		if v, err := strconv.ParseInt(s, 10, 64); err == nil {
			return v, nil
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(v, 0) {
		return nil, d.bad("number out of range")
	}
	return v, nil
}

func validNumber(s string) bool {
	i := 0
	digits := func() bool {
		from := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(s) && s[i] == '-' {
		i++
	}
	if i < len(s) && s[i] == '0' {
		i++
	} else if !digits() {
		return false
	}
	if i < len(s) && s[i] == '.' {
		if i++; !digits() {
			return false
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(s) && i > 0
}

// text reads a string; without escapes it shares the source.
func (d *Decoder) text() (string, error) {
	if !d.take('"') {
		return "", d.bad("not a string")
	}
	start, ascii := d.pos, true
	for i := d.pos; i < len(d.src); i++ {
		switch c := d.src[i]; {
		case c == '"':
			s := d.src[start:i]
			d.pos = i + 1
			if !ascii && !utf8.ValidString(s) {
				return "", d.bad("invalid UTF-8")
			}
			return s, nil
		case c == '\\':
			return d.escaped(start, i)
		case c < 0x20:
			return "", d.bad("control character in string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", d.bad("string without end")
}

func (d *Decoder) escaped(start, i int) (string, error) {
	out := append(make([]byte, 0, i-start+32), d.src[start:i]...)
	for i < len(d.src) {
		c := d.src[i]
		switch {
		case c == '"':
			d.pos = i + 1
			if !utf8.Valid(out) {
				return "", d.bad("invalid UTF-8")
			}
			return string(out), nil
		case c < 0x20:
			return "", d.bad("control character in string")
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		r, n := unescape(d.src[i:])
		if n == 0 {
			return "", d.bad("escape")
		}
		out = utf8.AppendRune(out, r)
		i += n
	}
	return "", d.bad("string without end")
}

// unescape decodes the escape at the start of s; n is 0 when it is not one.
// Half a surrogate pair becomes the replacement character.
func unescape(s string) (r rune, n int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		if len(s) < 6 {
			return 0, 0
		}
		v, err := strconv.ParseUint(s[2:6], 16, 32)
		if err != nil {
			return 0, 0
		}
		r = rune(v)
		if !utf16.IsSurrogate(r) {
			return r, 6
		}
		if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
			if low, err := strconv.ParseUint(s[8:12], 16, 32); err == nil {
				if pair := utf16.DecodeRune(r, rune(low)); pair != utf8.RuneError {
					return pair, 12
				}
			}
		}
		return utf8.RuneError, 6
	}
	return 0, 0
}
