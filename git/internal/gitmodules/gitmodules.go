// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitmodules parses .gitmodules files: the syntax of Git's
// configuration, without includes.
package gitmodules

import (
	"errors"
	"fmt"
	"strings"
)

// ErrSyntax reports a file that is no configuration.
var ErrSyntax = errors.New("malformed .gitmodules")

// Module is one submodule.
type Module struct{ Name, Path, URL string }

const maxModules = 10_000

type parser struct {
	s    string
	line int
}

// Parse returns the submodules in order. Of a repeated key the last value counts.
func Parse(b []byte) ([]Module, error) {
	p := &parser{s: strings.TrimPrefix(string(b), "\ufeff"), line: 1}
	var out []Module
	index := map[string]int{}
	section, name := "", ""
	for {
		p.space()
		if p.s == "" {
			return out, nil
		}
		switch c := p.s[0]; {
		case c == '\n':
			p.next()
		case c == '#' || c == ';':
			p.comment()
		case c == '[':
			var err error
			if section, name, err = p.section(); err != nil {
				return nil, err
			}
			if section == "submodule" {
				if _, ok := index[name]; !ok {
					if len(out) >= maxModules {
						return nil, p.bad("too many submodules")
					}
					index[name] = len(out)
					out = append(out, Module{Name: name})
				}
			}
		default:
			key, value, err := p.entry()
			if err != nil {
				return nil, err
			}
			if section == "" {
				return nil, p.bad("key outside a section")
			}
			if section != "submodule" {
				continue
			}
			switch m := &out[index[name]]; key {
			case "path":
				m.Path = value
			case "url":
				m.URL = value
			}
		}
	}
}

func (p *parser) bad(why string) error { return fmt.Errorf("line %d: %s: %w", p.line, why, ErrSyntax) }

func (p *parser) next() byte {
	c := p.s[0]
	p.s = p.s[1:]
	if c == '\n' {
		p.line++
	}
	return c
}

func (p *parser) space() {
	for p.s != "" && (p.s[0] == ' ' || p.s[0] == '\t' || p.s[0] == '\r') {
		p.next()
	}
}

func (p *parser) comment() {
	for p.s != "" && p.s[0] != '\n' {
		p.next()
	}
}

func word(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.'
}

// take returns the bytes up to the first that is not wanted.
func (p *parser) take(wanted func(byte) bool) string {
	n := 0
	for n < len(p.s) && wanted(p.s[n]) {
		n++
	}
	taken := p.s[:n]
	p.s = p.s[n:]
	return taken
}

// section reads "[name]" or "[name "sub"]".
func (p *parser) section() (section, sub string, err error) {
	p.next()
	section = p.take(word)
	p.space()
	if p.s != "" && p.s[0] == '"' {
		p.next()
		var b strings.Builder
		for {
			if p.s == "" || p.s[0] == '\n' {
				return "", "", p.bad("section name is cut off")
			}
			c := p.next()
			if c == '"' {
				break
			}
			if c == '\\' {
				if p.s == "" || p.s[0] == '\n' {
					return "", "", p.bad("section name is cut off")
				}
				c = p.next()
			}
			b.WriteByte(c)
		}
		sub = b.String()
	}
	if section == "" || p.s == "" || p.s[0] != ']' {
		return "", "", p.bad("section header")
	}
	p.next()
	return strings.ToLower(section), sub, nil
}

// entry reads "key = value".
func (p *parser) entry() (key, value string, err error) {
	key = p.take(func(c byte) bool { return word(c) && c != '.' })
	if key == "" || key[0] >= '0' && key[0] <= '9' || key[0] == '-' {
		return "", "", p.bad("key")
	}
	p.space()
	if p.s == "" || p.s[0] == '\n' || p.s[0] == '#' || p.s[0] == ';' {
		return strings.ToLower(key), "", nil
	}
	if p.next() != '=' {
		return "", "", p.bad("no equals sign")
	}
	value, err = p.value()
	return strings.ToLower(key), value, err
}

func (p *parser) value() (string, error) {
	p.space()
	var b strings.Builder
	quoted, end := false, 0 // end: the length without trailing space
	for p.s != "" {
		c := p.s[0]
		switch {
		case c == '\n' && quoted:
			return "", p.bad("quote is not closed")
		case c == '\n':
			return b.String()[:end], nil
		case !quoted && (c == '#' || c == ';'):
			p.comment()
			continue
		case c == '"':
			p.next()
			quoted = !quoted
			end = max(end, b.Len())
			continue
		case c == '\\':
			if err := p.escape(&b); err != nil {
				return "", err
			}
			end = b.Len()
			continue
		case c == '\r' && strings.HasPrefix(p.s, "\r\n"):
			p.next()
			continue
		}
		b.WriteByte(p.next())
		if quoted || c != ' ' && c != '\t' {
			end = b.Len()
		}
	}
	if quoted {
		return "", p.bad("quote is not closed")
	}
	return b.String()[:end], nil
}

func (p *parser) escape(b *strings.Builder) error {
	p.next()
	if p.s == "" {
		return p.bad("escape is cut off")
	}
	if strings.HasPrefix(p.s, "\r\n") {
		p.next()
	}
	switch c := p.next(); c {
	case '\n': // continued on the next line
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case 'b':
		b.WriteByte('\b')
	case '\\', '"':
		b.WriteByte(c)
	default:
		return p.bad("unknown escape")
	}
	return nil
}

// ValidName reports whether a submodule's name is one that git accepts.
func ValidName(s string) bool {
	if s == "" || s[0] == '-' || s[0] == '/' || s[0] == '\\' {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	for part := range strings.SplitSeq(strings.ReplaceAll(s, `\`, "/"), "/") {
		if part == ".." {
			return false
		}
	}
	return true
}
