// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// KeyField is one field of a k: element.
type KeyField struct {
	Name  string
	Value any // string, bool, int64, float64 or nil
}

// ParseKey reads the JSON of a k: element: an object of scalars without
// repeated names.
func ParseKey(s string) ([]KeyField, error) { return appendKey(make([]KeyField, 0, 2), s) }

// appendKey adds the fields of one key to out.
func appendKey(out []KeyField, s string) ([]KeyField, error) {
	p := parser{src: s}
	if !p.take('{') {
		return nil, p.bad("key is not an object")
	}
	from := len(out)
	if p.space(); p.take('}') {
		return nil, p.bad("empty key")
	}
	for {
		p.space()
		name, err := p.text()
		if err != nil {
			return nil, err
		}
		if p.space(); !p.take(':') {
			return nil, p.bad("no colon")
		}
		p.space()
		v, err := p.scalar()
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out[from:], func(f KeyField) bool { return f.Name == name }) {
			return nil, p.bad("repeated name")
		}
		out = append(out, KeyField{Name: name, Value: v})
		if p.space(); p.take(',') {
			continue
		}
		if !p.take('}') || p.pos != len(p.src) {
			return nil, p.bad("end of key")
		}
		return out, nil
	}
}

// ParseScalar reads the JSON of a v: element.
func ParseScalar(s string) (any, error) {
	p := parser{src: s}
	v, err := p.scalar()
	if err == nil && p.pos != len(p.src) {
		err = p.bad("trailing data")
	}
	return v, err
}

func (p *parser) scalar() (any, error) {
	rest := p.src[p.pos:]
	switch {
	case p.word("true"):
		return true, nil
	case p.word("false"):
		return false, nil
	case p.word("null"):
		return nil, nil //nolint:nilnil // JSON null is nil
	}
	if len(rest) > 0 && rest[0] == '"' {
		return p.text()
	}
	end := numberEnd(rest)
	if end == 0 {
		return nil, p.bad("not a scalar")
	}
	p.pos += end
	return number(rest[:end])
}

func (p *parser) word(w string) bool {
	if strings.HasPrefix(p.src[p.pos:], w) {
		p.pos += len(w)
		return true
	}
	return false
}

// numberEnd returns the length of the JSON number at the start of s.
func numberEnd(s string) int {
	i := 0
	digits := func() bool {
		start := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > start
	}
	if i < len(s) && s[i] == '-' {
		i++
	}
	if i < len(s) && s[i] == '0' {
		i++
	} else if !digits() {
		return 0
	}
	if i < len(s) && s[i] == '.' {
		if i++; !digits() {
			return 0
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return 0
		}
	}
	return i
}

func number(s string) (any, error) {
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		return v, nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(v, 0) {
		return nil, fmt.Errorf("%w: number %q", ErrMalformed, s)
	}
	return v, nil
}

// SameElement reports whether two elements of one kind name the same path:
// keys with the same fields in any order, equal values, equal indices.
func SameElement(kind Kind, a, b string) bool {
	if a == b {
		return true
	}
	switch kind {
	case Key:
		x, errX := ParseKey(a)
		y, errY := ParseKey(b)
		if errX != nil || errY != nil || len(x) != len(y) {
			return false
		}
		for _, f := range x {
			if !slices.ContainsFunc(y, func(o KeyField) bool { return o.Name == f.Name && SameScalar(o.Value, f.Value) }) {
				return false
			}
		}
		return true
	case Value:
		x, errX := ParseScalar(a)
		y, errY := ParseScalar(b)
		return errX == nil && errY == nil && SameScalar(x, y)
	case Index:
		x, errX := strconv.Atoi(a)
		y, errY := strconv.Atoi(b)
		return errX == nil && errY == nil && x == y
	case Field:
	}
	return false
}

// exact is the largest magnitude up to which every integer is a float64.
const exact = 1 << 53

// SameScalar compares JSON scalars: strings by bytes, numbers by value when
// both are integers or both are within ±2^53, booleans; null equals nothing.
func SameScalar(a, b any) bool {
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return ok && x == y
	case bool:
		y, ok := b.(bool)
		return ok && x == y
	case int64:
		switch y := b.(type) {
		case int64:
			return x == y
		case float64:
			return sameMixed(x, y)
		}
	case float64:
		switch y := b.(type) {
		case int64:
			return sameMixed(y, x)
		case float64:
			return sameFloat(x, y)
		}
	}
	return false
}

func sameMixed(i int64, f float64) bool {
	return i <= exact && i >= -exact && sameFloat(float64(i), f)
}

func sameFloat(a, b float64) bool {
	return a == b && math.Abs(a) <= exact
}
