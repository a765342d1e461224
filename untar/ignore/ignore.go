// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ignore

import (
	"strings"
)

// Pattern is one line of an ignore file.
type Pattern struct {
	// File names where the pattern was read, as it appears in a verdict;
	// empty for built-in sets.
	File string
	// Line is the line number in File, from 1.
	Line int
	// Text is the pattern as written, without trailing spaces.
	Text string
	// Dir is the directory below which the pattern applies, slash-separated
	// and without a trailing slash; empty for the root.
	Dir string
}

// Options control matching. The zero value is git's behaviour.
type Options struct {
	// File is the name that [Parse] records in its patterns.
	File string
	// ReincludeBelow lets a later "!" pattern bring back a path below an
	// excluded directory, which git does not. The zero value is git's rule.
	ReincludeBelow bool
	// Limits bound what is read. The zero value has the defaults.
	Limits Limits
}

// Verdict is the outcome for one path.
type Verdict struct {
	// Ignored reports whether the path is excluded.
	Ignored bool
	// Pattern decided, also when it is a "!" pattern; nil if none matched.
	// It is the pattern that git check-ignore -v prints.
	Pattern *Pattern
}

// Problem is a pattern that can never match.
type Problem struct {
	// Pattern is the pattern as read.
	Pattern Pattern
	// Text says what is wrong with it.
	Text string
}

// Matcher is a compiled list of patterns. It is immutable and safe for
// concurrent use. The nil Matcher ignores nothing.
type Matcher struct {
	patterns []Pattern
	rules    []rule
	problems []Problem
	reinc    bool
	negated  []int32 // indices of "!" rules, ascending

	base     map[string][]int32 // last component equals, indices ascending
	full     map[string][]int32 // whole path equals
	suffix   map[string][]int32 // "*.ext": by what follows the last dot
	general  []int32            // everything else
	scopeMax int                // longest Dir, to skip scope checks
}

// New compiles patterns; the last that matches decides. More patterns than
// the limit are a [*LimitError].
func New(patterns []Pattern, o Options) (*Matcher, error) {
	if limit := o.Limits.patterns(); int64(len(patterns)) > limit {
		return nil, &LimitError{Name: limitPatterns, Max: limit, Got: int64(len(patterns))}
	}
	m := &Matcher{
		patterns: append([]Pattern(nil), patterns...),
		rules:    make([]rule, len(patterns)),
		reinc:    o.ReincludeBelow,
		base:     map[string][]int32{},
		full:     map[string][]int32{},
		suffix:   map[string][]int32{},
	}
	for i := range m.patterns {
		p := &m.patterns[i]
		if len(p.Text) > maxLine {
			return nil, &LimitError{Name: limitLine, Max: maxLine, Got: int64(len(p.Text))}
		}
		p.Dir = strings.Trim(p.Dir, "/")
		r, problem := compile(p)
		m.rules[i] = r
		if problem != "" {
			m.problems = append(m.problems, Problem{Pattern: *p, Text: problem})
		}
		m.index(int32(i), &m.rules[i])
	}
	return m, nil
}

// index enters rule i into the tables.
func (m *Matcher) index(i int32, r *rule) {
	m.scopeMax = max(m.scopeMax, len(r.scope))
	if r.kind == never {
		return
	}
	if r.negate {
		m.negated = append(m.negated, i)
	}
	switch r.kind {
	case baseEqual:
		m.base[r.literal] = append(m.base[r.literal], i)
	case fullEqual:
		key := r.literal
		if r.scope != "" {
			key = r.scope + r.literal
		}
		m.full[key] = append(m.full[key], i)
	case baseSuffix:
		if dot := strings.LastIndexByte(r.literal, '.'); dot >= 0 {
			key := r.literal[dot+1:]
			m.suffix[key] = append(m.suffix[key], i)
			return
		}
		m.general = append(m.general, i)
	default:
		m.general = append(m.general, i)
	}
}

// Problems lists the patterns that can never match, as an unclosed bracket.
// git accepts them silently.
func (m *Matcher) Problems() []Problem {
	if m == nil {
		return nil
	}
	return append([]Problem(nil), m.problems...)
}

// last returns the index of the last rule that matches the path itself, -1
// for none. baseAt is where the last component begins.
func (m *Matcher) last(path string, baseAt int, dir bool) int32 {
	name := path[baseAt:]
	best := m.lastOf(m.base[name], -1, path, name, dir)
	best = m.lastOf(m.full[path], best, path, name, dir)
	if len(m.suffix) > 0 {
		if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
			best = m.lastOf(m.suffix[name[dot+1:]], best, path, name, dir)
		}
	}
	return m.lastOf(m.general, best, path, name, dir)
}

func (m *Matcher) lastOf(list []int32, best int32, path, name string, dir bool) int32 {
	for k := len(list) - 1; k >= 0 && list[k] > best; k-- {
		if m.rules[list[k]].match(path, name, dir) {
			return list[k]
		}
	}
	return best
}

// state is what a directory hands down to its content.
type state struct {
	ignored bool
	rule    int32 // the deciding rule of an ignored directory
}

// judge decides about a path in a directory of the given state.
func (m *Matcher) judge(parent state, path string, baseAt int, dir bool) (ignored bool, rule int32) {
	if parent.ignored && !m.reinc {
		return true, parent.rule
	}
	own := m.last(path, baseAt, dir)
	if parent.ignored && own <= parent.rule {
		return true, parent.rule
	}
	return own >= 0 && !m.rules[max(own, 0)].negate, own
}

// Match judges a path; dir tells whether it is a directory. A trailing slash
// is dropped. The root is never ignored.
func (m *Matcher) Match(path string, dir bool) Verdict {
	path = strings.TrimSuffix(path, "/")
	if m == nil || path == "" || path == "." {
		return Verdict{}
	}
	s := state{rule: -1}
	for at := 0; ; {
		slash := strings.IndexByte(path[at:], '/')
		if slash < 0 {
			ignored, rule := m.judge(s, path, at, dir)
			return m.verdict(ignored, rule)
		}
		ignored, rule := m.judge(s, path[:at+slash], at, true)
		s = state{ignored: ignored, rule: rule}
		if ignored && !m.reinc {
			return m.verdict(true, rule)
		}
		at += slash + 1
	}
}

func (m *Matcher) verdict(ignored bool, rule int32) Verdict {
	v := Verdict{Ignored: ignored}
	if rule >= 0 {
		v.Pattern = &m.patterns[rule]
	}
	return v
}
