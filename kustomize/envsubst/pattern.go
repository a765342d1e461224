// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package envsubst

import (
	"slices"
	"unicode/utf8"
)

// pattern is a parsed glob of the operators # and %.
type pattern struct {
	tokens []token
	class  bool // has a bracket expression
}

type token struct {
	kind   byte // 'c' literal, '?' any, '*' any text, '[' class
	lit    rune
	ranges [][2]rune
	negate bool
}

// parsePattern reports false for a malformed pattern, which matches nothing.
func parsePattern(s string) (pattern, bool) {
	var p pattern
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		s = s[n:]
		switch r {
		case '*':
			if k := len(p.tokens); k == 0 || p.tokens[k-1].kind != '*' {
				p.tokens = append(p.tokens, token{kind: '*'})
			}
		case '?':
			p.tokens = append(p.tokens, token{kind: '?'})
		case '\\':
			if s == "" {
				return p, false
			}
			r, n = utf8.DecodeRuneInString(s)
			s = s[n:]
			p.tokens = append(p.tokens, token{kind: 'c', lit: r})
		case '[':
			t, rest, ok := parseClass(s)
			if !ok {
				return p, false
			}
			s, p.class = rest, true
			p.tokens = append(p.tokens, t)
		default:
			p.tokens = append(p.tokens, token{kind: 'c', lit: r})
		}
	}
	return p, true
}

// parseClass parses a bracket expression after its opening bracket.
func parseClass(s string) (token, string, bool) {
	t := token{kind: '['}
	if s != "" && s[0] == '^' {
		t.negate, s = true, s[1:]
	}
	char := func() (rune, bool) {
		if s == "" || s[0] == '-' || s[0] == ']' {
			return 0, false
		}
		if s[0] == '\\' {
			s = s[1:]
			if s == "" {
				return 0, false
			}
		}
		r, n := utf8.DecodeRuneInString(s)
		s = s[n:]
		return r, s != ""
	}
	for {
		if s != "" && s[0] == ']' && len(t.ranges) > 0 {
			return t, s[1:], true
		}
		lo, ok := char()
		if !ok {
			return t, "", false
		}
		hi := lo
		if s[0] == '-' {
			s = s[1:]
			if hi, ok = char(); !ok {
				return t, "", false
			}
		}
		t.ranges = append(t.ranges, [2]rune{lo, hi})
	}
}

func (t token) matches(r rune) bool {
	switch t.kind {
	case 'c':
		return r == t.lit
	case '?':
		return true
	}
	in := slices.ContainsFunc(t.ranges, func(x [2]rune) bool { return x[0] <= r && r <= x[1] })
	return in != t.negate
}

// matcher runs all positions of a pattern at once: one pass over the text.
type matcher struct {
	tokens    []token
	now, next []bool
}

func newMatcher(tokens []token) *matcher {
	m := &matcher{tokens: tokens, now: make([]bool, len(tokens)+1), next: make([]bool, len(tokens)+1)}
	m.enter(m.now, 0)
	return m
}

// enter marks a position and those behind a star, which may match nothing.
func (m *matcher) enter(set []bool, i int) {
	for !set[i] {
		set[i] = true
		if i == len(m.tokens) || m.tokens[i].kind != '*' {
			return
		}
		i++
	}
}

// step consumes a character and reports whether the pattern matches so far, and
// whether it can match at all any more.
func (m *matcher) step(r rune) (match, alive bool) {
	clear(m.next)
	for i, t := range m.tokens {
		if !m.now[i] {
			continue
		}
		if t.kind == '*' {
			m.enter(m.next, i)
		} else if t.matches(r) {
			m.enter(m.next, i+1)
		}
	}
	m.now, m.next = m.next, m.now
	return m.now[len(m.tokens)], slices.Contains(m.now, true)
}

// prefix returns the length of the shortest or longest non-empty prefix that
// matches, 0 if none does.
func (p pattern) prefix(v string, longest bool) int {
	m, best := newMatcher(p.tokens), 0
	for i := 0; i < len(v); {
		r, n := utf8.DecodeRuneInString(v[i:])
		i += n
		match, alive := m.step(r)
		if match {
			if best = i; !longest {
				break
			}
		}
		if !alive {
			break
		}
	}
	return best
}

// suffix returns where the shortest or longest non-empty matching suffix
// starts, len(v) if none matches.
func (p pattern) suffix(v string, longest bool) int {
	tokens := slices.Clone(p.tokens)
	slices.Reverse(tokens)
	m, best := newMatcher(tokens), len(v)
	for i := len(v); i > 0; {
		r, n := utf8.DecodeLastRuneInString(v[:i])
		i -= n
		match, alive := m.step(r)
		if match {
			if best = i; !longest {
				break
			}
		}
		if !alive {
			break
		}
	}
	return best
}
