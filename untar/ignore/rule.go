// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ignore

import "strings"

type kind uint8

const (
	never      kind = iota
	baseEqual       // last component equals literal
	baseSuffix      // last component ends in literal
	basePrefix      // last component begins with literal
	baseGlob        // last component matches the program
	fullEqual       // path below the scope equals literal
	fullGlob        // path below the scope begins with literal and the rest matches the program
)

// rule is a compiled pattern.
type rule struct {
	kind    kind
	negate  bool
	dirOnly bool
	scope   string // with a trailing slash, "" for the root
	literal string
	glob    program
}

const special = "*?[\\"

// compile turns a pattern into a rule; problem says why it never matches.
func compile(p *Pattern) (r rule, problem string) {
	text := p.Text
	if p.Dir != "" {
		r.scope = p.Dir + "/"
	}
	if strings.HasPrefix(text, "!") {
		r.negate = true
		text = text[1:]
	}
	if strings.HasSuffix(text, "/") {
		r.dirOnly = true
		text = text[:len(text)-1]
	}
	if text == "" {
		return r, "nothing but a slash"
	}
	if !strings.Contains(text, "/") {
		return compileBase(r, text)
	}
	text = strings.TrimPrefix(text, "/")
	plain := strings.IndexAny(text, special)
	if plain < 0 {
		r.kind, r.literal = fullEqual, text
		return r, ""
	}
	// What precedes the first special character is compared first and cut
	// off; "**" right behind it counts as standing at the beginning, as in git.
	r.kind, r.literal = fullGlob, text[:plain]
	r.glob, problem = compileGlob(text[plain:], true)
	if problem != "" {
		r.kind = never
	}
	return r, problem
}

func compileBase(r rule, text string) (rule, string) {
	switch first := strings.IndexAny(text, special); {
	case first < 0:
		r.kind, r.literal = baseEqual, text
		return r, ""
	case first == 0 && text[0] == '*' && !strings.ContainsAny(text[1:], special):
		r.kind, r.literal = baseSuffix, text[1:]
		return r, ""
	case first == len(text)-1 && text[first] == '*':
		r.kind, r.literal = basePrefix, text[:first]
		return r, ""
	}
	var problem string
	r.kind = baseGlob
	r.glob, problem = compileGlob(text, false)
	if problem != "" {
		r.kind = never
	}
	return r, problem
}

// match reports whether the rule matches the path itself; name is its last
// component.
func (r *rule) match(path, name string, dir bool) bool {
	if r.dirOnly && !dir {
		return false
	}
	if r.scope != "" && (len(path) <= len(r.scope) || !strings.HasPrefix(path, r.scope)) {
		return false
	}
	switch r.kind {
	case baseEqual:
		return name == r.literal
	case baseSuffix:
		return strings.HasSuffix(name, r.literal)
	case basePrefix:
		return strings.HasPrefix(name, r.literal)
	case baseGlob:
		return r.glob.match(name)
	case fullEqual:
		return path[len(r.scope):] == r.literal
	case fullGlob:
		rest := path[len(r.scope):]
		return strings.HasPrefix(rest, r.literal) && r.glob.match(rest[len(r.literal):])
	}
	return false
}

// below reports whether the rule could match something below dir. It may say
// yes too often, never no wrongly.
func (r *rule) below(dir string) bool {
	if r.kind == never {
		return false
	}
	below := dir + "/"
	if r.scope != "" && !strings.HasPrefix(r.scope, below) && !strings.HasPrefix(below, r.scope) {
		return false
	}
	switch r.kind {
	case fullEqual, fullGlob:
		full := r.scope + r.literal
		if r.kind == fullEqual {
			return strings.HasPrefix(full, below)
		}
		n := min(len(full), len(below))
		return full[:n] == below[:n]
	}
	return true
}
