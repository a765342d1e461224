// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ignore

import "strings"

type op uint8

const (
	opByte     op = iota // one given byte
	opAny                // one byte but "/"
	opClass              // one byte of a set
	opStar               // any run without "/"
	opDeepStar           // any run
	opDeepDirs           // nothing, or a run that ends in "/"
)

type step struct {
	op  op
	b   byte
	set *[4]uint64
}

// program is a compiled wildcard pattern.
type program []step

// compileGlob compiles a pattern in which wildcards stop at "/"; deep gives
// "**" next to slashes its meaning. A problem says why it never matches.
func compileGlob(s string, deep bool) (program, string) {
	var p program
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case '\\':
			if i+1 == len(s) {
				return nil, "backslash at the end"
			}
			p = append(p, step{op: opByte, b: s[i+1]})
			i += 2
		case '?':
			p = append(p, step{op: opAny})
			i++
		case '[':
			set, n := class(s[i:])
			if n == 0 {
				return nil, "malformed bracket expression"
			}
			p = append(p, step{op: opClass, set: set})
			i += n
		case '*':
			p, i = star(p, s, i, deep)
		default:
			p = append(p, step{op: opByte, b: c})
			i++
		}
	}
	return p, ""
}

// star compiles the run of stars at s[i:] and returns where it ends.
func star(p program, s string, i int, deep bool) (program, int) {
	begin := i
	for i < len(s) && s[i] == '*' {
		i++
	}
	if i-begin < 2 || !deep {
		return append(p, step{op: opStar}), i
	}
	left := begin == 0 || s[begin-1] == '/'
	switch {
	case left && i == len(s):
		return append(p, step{op: opDeepStar}), i
	case left && s[i] == '/':
		return append(p, step{op: opDeepDirs}), i + 1
	case left && strings.HasPrefix(s[i:], `\/`):
		return append(p, step{op: opDeepStar}), i
	}
	return append(p, step{op: opStar}), i
}

// class compiles the bracket expression at the start of s and returns its
// length, 0 if it is malformed.
func class(s string) (*[4]uint64, int) {
	set := &[4]uint64{}
	add := func(b byte) { set[b>>6] |= 1 << (b & 63) }
	i := 1
	negate := i < len(s) && (s[i] == '!' || s[i] == '^')
	if negate {
		i++
	}
	previous := -1 // lower end of a possible range
	for first := true; ; first = false {
		if i >= len(s) {
			return nil, 0
		}
		c := s[i]
		if c == ']' && !first {
			i++
			break
		}
		switch {
		case c == '\\':
			i++
			if i == len(s) {
				return nil, 0
			}
			add(s[i])
			previous = int(s[i])
		case c == '-' && previous > 0 && i+1 < len(s) && s[i+1] != ']':
			i++
			if s[i] == '\\' {
				i++
				if i == len(s) {
					return nil, 0
				}
			}
			for b := previous; b <= int(s[i]); b++ {
				add(byte(b))
			}
			previous = -1
		case c == '[' && i+1 < len(s) && s[i+1] == ':':
			end := strings.IndexByte(s[i+2:], ']')
			if end < 0 {
				return nil, 0
			}
			if end == 0 || s[i+2+end-1] != ':' {
				add('[') // no ":]": an ordinary bracket
				previous = '['
				break
			}
			if !posix(s[i+2:i+2+end-1], add) {
				return nil, 0
			}
			i += 2 + end
			previous = -1
		default:
			add(c)
			previous = int(c)
		}
		i++
	}
	if negate {
		for k := range set {
			set[k] = ^set[k]
		}
	}
	set['/'>>6] &^= 1 << ('/' & 63)
	return set, i
}

// posix adds the ASCII members of a named class.
func posix(name string, add func(byte)) bool {
	in := func(lists ...string) bool {
		for _, l := range lists {
			for b := l[0]; ; b++ {
				add(b)
				if b == l[1] {
					break
				}
			}
		}
		return true
	}
	switch name {
	case "alnum":
		return in("az", "AZ", "09")
	case "alpha":
		return in("az", "AZ")
	case "blank":
		return in("  ", "\t\t")
	case "cntrl":
		return in("\x00\x1f", "\x7f\x7f")
	case "digit":
		return in("09")
	case "graph":
		return in("!~")
	case "lower":
		return in("az")
	case "print":
		return in(" ~")
	case "punct":
		return in("!/", ":@", "[`", "{~")
	case "space":
		return in("\t\r", "  ")
	case "upper":
		return in("AZ")
	case "xdigit":
		return in("09", "af", "AF")
	}
	return false
}

// match runs the program over the whole of s. It keeps one point to return
// to for the last star and one for the last "**": a star cannot cross "/", so
// an earlier one never helps, and what an earlier "**" could give, the later
// one can take.
func (p program) match(s string) bool {
	pi, si := 0, 0
	starP, starS := -1, 0
	deepP, deepS := -1, 0
	for {
		if pi < len(p) {
			switch t := &p[pi]; t.op {
			case opStar:
				starP, starS = pi, si
				pi++
				continue
			case opDeepStar, opDeepDirs:
				deepP, deepS = pi, si
				starP = -1
				pi++
				continue
			default:
				if si < len(s) && t.one(s[si]) {
					pi++
					si++
					continue
				}
			}
		} else if si == len(s) {
			return true
		}
		switch {
		case starP >= 0 && starS < len(s) && s[starS] != '/':
			starS++
			pi, si = starP+1, starS
		case deepP >= 0:
			starP = -1
			next, ok := p[deepP].advance(s, deepS)
			if !ok {
				return false
			}
			deepS = next
			pi, si = deepP+1, deepS
		default:
			return false
		}
	}
}

func (t *step) one(b byte) bool {
	switch t.op {
	case opByte:
		return b == t.b
	case opAny:
		return b != '/'
	}
	return t.set[b>>6]>>(b&63)&1 != 0
}

// advance is the next longer match of a "**" that now ends at s[:at].
func (t *step) advance(s string, at int) (int, bool) {
	if t.op == opDeepStar {
		return at + 1, at < len(s)
	}
	slash := strings.IndexByte(s[at:], '/')
	return at + slash + 1, slash >= 0
}
