// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package envsubst

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// LimitError reports a limit that was exceeded.
type LimitError = limits.LimitError

// Which case an [*Error] is.
var (
	// ErrUnset reports a variable without value and default.
	ErrUnset = errors.New("variable not set (strict mode)")
	// ErrSyntax reports an expression that cannot be parsed or evaluated.
	ErrSyntax = errors.New("invalid expression")
)

// Error says which variable could not be replaced.
type Error struct {
	Name   string // "" if the expression has none
	Offset int    // of the expression in the text
	Why    string // never holds a value
	Err    error  // ErrUnset or ErrSyntax
}

// Error returns Why.
func (e *Error) Error() string { return e.Why }

// Unwrap returns the case.
func (e *Error) Unwrap() error { return e.Err }

// Reason returns the condition reason.
func (e *Error) Reason() string { return "BuildFailed" }

// Terminal reports true: the same text and variables fail again.
func (e *Error) Terminal() bool { return true }

// Limits bound the output. Zero is the default, negative no bound.
type Limits struct {
	// Object bounds the output of one call ("substitution-object"): 16 MiB.
	Object int64
	// Total bounds the output of all calls that share [Options.Used]
	// ("substitution-total"): 64 MiB.
	Total int64
}

// Options configure [Expand]. The zero value has no variables.
type Options struct {
	// Vars are the variables.
	Vars map[string]string
	// Lenient replaces unset variables by nothing. Zero: they are errors.
	Lenient bool
	// Explain is called with the name and offset of every replaced expression.
	Explain func(name string, offset int)
	// Used counts output bytes over several calls; nil counts this call only.
	Used *int64
	// Limits bound the output.
	Limits Limits
}

const (
	maxNesting = 32
	maxPattern = 1024 // bytes of a pattern of # and %
	workFactor = 8    // bytes that operators may look at, per byte of the output limit
)

// Expand replaces the expressions in s.
func Expand(s string, o Options) (string, error) {
	if err := checkText(s); err != nil {
		return "", err
	}
	limit := limits.Or(o.Limits.Object, 16<<20)
	total := limits.Or(o.Limits.Total, 64<<20)
	if o.Used == nil {
		o.Used = new(int64)
	}
	if !strings.Contains(s, "$") {
		return s, use(&o, int64(len(s)), limit, total)
	}
	x := &expander{text: s, opts: &o, limit: limit}
	out, err := x.run()
	if err != nil {
		return "", err
	}
	return out, use(&o, int64(len(out)), limit, total)
}

func use(o *Options, n, limit, total int64) error {
	if err := limits.Check("substitution-object", limit, n); err != nil {
		return err
	}
	*o.Used += n
	return limits.Check("substitution-total", total, *o.Used)
}

func checkText(s string) error {
	switch {
	case !utf8.ValidString(s):
		return &Error{Why: "text is not valid UTF-8", Err: ErrSyntax}
	case strings.IndexByte(s, 0) >= 0:
		return &Error{Why: "text contains a NUL character", Err: ErrSyntax}
	}
	return nil
}

// expander walks the text once.
type expander struct {
	text  string
	at    int
	start int // of the outermost expression
	opts  *Options
	limit int64
	out   strings.Builder
	work  int64
}

func (x *expander) run() (string, error) {
	for x.at < len(x.text) {
		i := strings.IndexByte(x.text[x.at:], '$')
		if i < 0 {
			break
		}
		if err := x.emit(x.text[x.at : x.at+i]); err != nil {
			return "", err
		}
		x.at += i
		switch rest := x.text[x.at+1:]; {
		case strings.HasPrefix(rest, "$"):
			x.at += 2
			x.out.WriteByte('$')
		case strings.HasPrefix(rest, "{"):
			x.start = x.at
			v, err := x.expression(0, true)
			if err != nil {
				return "", err
			}
			if err := x.emit(v); err != nil {
				return "", err
			}
		default:
			x.at++
			x.out.WriteByte('$')
		}
	}
	if err := x.emit(x.text[x.at:]); err != nil {
		return "", err
	}
	return x.out.String(), nil
}

func (x *expander) emit(s string) error {
	if err := limits.Check("substitution-object", x.limit, int64(x.out.Len()+len(s))); err != nil {
		return err
	}
	x.out.WriteString(s)
	return nil
}

func (x *expander) fail(name, why string) error {
	return &Error{Name: name, Offset: x.start, Why: why, Err: ErrSyntax}
}

// The texts that existing clients show.
const (
	whyBrace    = "missing closing brace"
	whyName     = "unable to parse variable name"
	whyFunction = "unable to parse substitution within function"
	whyBad      = "bad substitution"
)

func (x *expander) peek() byte {
	if x.at < len(x.text) {
		return x.text[x.at]
	}
	return 0
}

// expression parses and evaluates ${…} at the current position. A branch that
// does not count is parsed only.
func (x *expander) expression(depth int, live bool) (string, error) {
	if depth >= maxNesting {
		return "", x.fail("", fmt.Sprintf("expressions are nested more than %d deep", maxNesting))
	}
	x.at += 2
	if x.peek() == '#' {
		return x.length(live)
	}
	name, err := x.name()
	if err != nil {
		return "", err
	}
	switch x.peek() {
	case '}':
		x.at++
		return x.lookup(name, live)
	case ':':
		return x.colon(name, depth, live)
	case '=':
		x.at++
		return x.fallback(name, depth, live)
	case '^', ',':
		return x.letters(name, live)
	case '#', '%':
		return x.trim(name, depth, live)
	case '/':
		return x.replace(name, depth, live)
	}
	return "", x.fail(name, whyBrace)
}

func (x *expander) name() (string, error) {
	from := x.at
	for x.at < len(x.text) {
		r, n := utf8.DecodeRuneInString(x.text[x.at:])
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			break
		}
		x.at += n
	}
	if from == x.at {
		return "", x.fail("", whyName)
	}
	return x.text[from:x.at], nil
}

// lookup returns the value of a variable that needs one.
func (x *expander) lookup(name string, live bool) (string, error) {
	if !live {
		return "", nil
	}
	v, ok := x.opts.Vars[name]
	if !ok && !x.opts.Lenient {
		return "", &Error{Name: name, Offset: x.start, Why: fmt.Sprintf("%s: %q", ErrUnset, name), Err: ErrUnset}
	}
	return x.value(name, v, ok)
}

func (x *expander) value(name, v string, ok bool) (string, error) {
	if ok {
		if err := checkText(v); err != nil {
			return "", x.fail(name, "value is not text")
		}
		if x.opts.Explain != nil {
			x.opts.Explain(name, x.start)
		}
	}
	x.work += int64(len(v))
	if x.work > x.limit && x.work/workFactor > x.limit {
		return "", &LimitError{Name: "substitution-object", Max: x.limit, Got: x.work / workFactor}
	}
	return v, nil
}

func (x *expander) length(live bool) (string, error) {
	x.at++
	name, err := x.name()
	if err != nil {
		return "", err
	}
	if x.peek() != '}' {
		return "", x.fail(name, whyBrace)
	}
	x.at++
	v, err := x.lookup(name, live)
	return strconv.Itoa(len(v)), err
}

// argument reads up to one of the stop bytes outside nested expressions.
// escapes makes \/ and \\ literal.
func (x *expander) argument(name, stops string, escapes bool, depth int, live bool) (string, error) {
	var b strings.Builder
	for x.at < len(x.text) {
		c := x.text[x.at]
		switch {
		case strings.IndexByte(stops, c) >= 0:
			return b.String(), nil
		case c == '}':
			return "", x.fail(name, whyBad)
		case escapes && c == '\\' && x.at+1 < len(x.text) && (x.text[x.at+1] == '/' || x.text[x.at+1] == '\\'):
			b.WriteByte(x.text[x.at+1])
			x.at += 2
		case c == '$' && strings.HasPrefix(x.text[x.at+1:], "{"):
			v, err := x.expression(depth+1, live)
			if err != nil {
				return "", err
			}
			if err := limits.Check("substitution-object", x.limit, int64(b.Len()+len(v))); err != nil {
				return "", err
			}
			b.WriteString(v)
		default:
			b.WriteByte(c)
			x.at++
		}
	}
	return "", x.fail(name, whyBrace)
}

func (x *expander) colon(name string, depth int, live bool) (string, error) {
	x.at++
	switch x.peek() {
	case '-', '=', '+', '?':
		x.at++
		return x.fallback(name, depth, live)
	}
	return x.substring(name, depth, live)
}

// fallback gives the argument if the variable is unset or empty.
func (x *expander) fallback(name string, depth int, live bool) (string, error) {
	v, ok := "", false
	if live {
		v, ok = x.opts.Vars[name]
	}
	use := live && v == ""
	arg, err := x.argument(name, "}", false, depth, use)
	if err != nil {
		return "", err
	}
	x.at++
	if use {
		if x.opts.Explain != nil {
			x.opts.Explain(name, x.start)
		}
		return arg, nil
	}
	return x.value(name, v, ok)
}

func (x *expander) substring(name string, depth int, live bool) (string, error) {
	first, err := x.argument(name, ":}", false, depth, live)
	if err != nil {
		return "", err
	}
	if first == "" && live {
		return "", x.fail(name, whyFunction)
	}
	second, long := "", x.peek() == ':'
	if long {
		x.at++
		if second, err = x.argument(name, "}", false, depth, live); err != nil {
			return "", err
		}
		if second == "" && live {
			return "", x.fail(name, whyFunction)
		}
	}
	x.at++
	v, err := x.lookup(name, live)
	if err != nil || !live {
		return "", err
	}
	from, ok := number(first)
	if !ok {
		return v, nil
	}
	if from < 0 {
		if from += len(v); from < 0 {
			return v, nil
		}
	}
	from = min(from, len(v))
	to := len(v)
	if long {
		n, ok := number(second)
		switch {
		case !ok:
			return v, nil
		case n < 0:
			if to += n; to < from {
				return "", x.fail(name, whyBad)
			}
		case n < to-from:
			to = from + n
		}
	}
	if out := v[from:to]; utf8.ValidString(out) {
		return out, nil
	}
	return "", x.fail(name, "offset splits a character")
}

func number(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil
}

func (x *expander) letters(name string, live bool) (string, error) {
	c := x.peek()
	x.at++
	all := x.peek() == c
	if all {
		x.at++
	}
	if x.at >= len(x.text) {
		return "", x.fail(name, whyBrace)
	}
	if x.peek() != '}' {
		return "", x.fail(name, whyBad)
	}
	x.at++
	v, err := x.lookup(name, live)
	if err != nil || v == "" {
		return "", err
	}
	change := strings.ToLower
	if c == '^' {
		change = strings.ToUpper
	}
	if all {
		return change(v), nil
	}
	_, n := utf8.DecodeRuneInString(v)
	return change(v[:n]) + v[n:], nil
}

func (x *expander) trim(name string, depth int, live bool) (string, error) {
	c := x.peek()
	x.at++
	longest := x.peek() == c
	if longest {
		x.at++
	}
	pattern, err := x.argument(name, "}", false, depth, live)
	if err != nil {
		return "", err
	}
	x.at++
	v, err := x.lookup(name, live)
	if err != nil || !live {
		return "", err
	}
	if len(pattern) > maxPattern {
		return "", x.fail(name, fmt.Sprintf("pattern is longer than %d bytes", maxPattern))
	}
	x.work += int64(len(v)) * int64(1+len(pattern)/8)
	p, ok := parsePattern(pattern)
	if !ok || c == '%' && p.class {
		return v, nil
	}
	if c == '#' {
		return v[p.prefix(v, longest):], nil
	}
	return v[:p.suffix(v, longest)], nil
}

func (x *expander) replace(name string, depth int, live bool) (string, error) {
	x.at++
	op := x.peek()
	if op == '/' || op == '#' || op == '%' {
		x.at++
	} else {
		op = 0
	}
	old, err := x.argument(name, "/", true, depth, live)
	if err != nil {
		return "", err
	}
	x.at++
	now, err := x.argument(name, "}", true, depth, live)
	if err != nil {
		return "", err
	}
	x.at++
	v, err := x.lookup(name, live)
	if err != nil || !live || old == "" {
		return v, err
	}
	switch op {
	case '#':
		if rest, ok := strings.CutPrefix(v, old); ok && now != "" {
			return now + rest, nil
		}
		return v, nil
	case '%':
		if rest, ok := strings.CutSuffix(v, old); ok && now != "" {
			return rest + now, nil
		}
		return v, nil
	case '/':
		n := int64(strings.Count(v, old))
		grown := int64(len(v)) + n*int64(len(now)-len(old))
		if err := limits.Check("substitution-object", x.limit, grown); err != nil {
			return "", err
		}
		return strings.ReplaceAll(v, old, now), nil
	}
	return strings.Replace(v, old, now, 1), nil
}
