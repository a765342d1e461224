// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"maps"
	"reflect"
	"strings"

	"github.com/gitops-kit/sdk/kustomize/envsubst"
)

// The functions of this file replace variables in the strings of an object,
// where that gives the same as replacing in its YAML text and reading it again:
// the text is written plain or as a block, and what comes out is read as the
// same kind of string. Everything else takes the way through the text.

// expandInPlace returns the object after substitution, or false if the text
// decides. v is not changed.
func expandInPlace(v map[string]any, o envsubst.Options) (map[string]any, bool) {
	x := &inPlace{opts: o}
	var used int64
	x.opts.Used = &used // the caller counts whole objects
	x.opts.Explain = func(name string, _ int) { x.names = append(x.names, name) }
	out, ok := x.value(v).(map[string]any)
	if x.failed || !ok {
		return nil, false
	}
	const framing = 4 // the text adds indentation, quotes and separators
	if limit := o.Limits.Object; limit > 0 && x.bytes*framing > limit {
		return nil, false
	}
	if o.Used != nil {
		*o.Used += x.bytes
	}
	if o.Explain != nil {
		for _, name := range x.names {
			o.Explain(name, 0)
		}
	}
	return out, true
}

type inPlace struct {
	opts   envsubst.Options
	names  []string
	bytes  int64
	failed bool
}

// value copies what changes and shares the rest.
func (x *inPlace) value(v any) any {
	if x.failed {
		return v
	}
	switch v := v.(type) {
	case string:
		x.bytes += int64(len(v)) + 4
		if !dollar(v) {
			return v
		}
		out, ok := x.scalar(v)
		x.failed = x.failed || !ok
		x.bytes += int64(len(out))
		return out
	case []any:
		var out []any
		for i, e := range v {
			now := x.value(e)
			if out == nil && changed(e, now) {
				out = append(make([]any, 0, len(v)), v[:i]...)
			}
			if out != nil {
				out = append(out, now)
			}
		}
		if out != nil {
			return out
		}
		return v
	case map[string]any:
		var out map[string]any
		for k, e := range v {
			if dollar(k) {
				x.failed = true
				return v
			}
			x.bytes += int64(len(k)) + 4
			now := x.value(e)
			if !changed(e, now) {
				continue
			}
			if out == nil {
				out = make(map[string]any, len(v))
				maps.Copy(out, v)
			}
			out[k] = now
		}
		if out != nil {
			return out
		}
		return v
	}
	x.bytes += 8
	return v
}

// changed compares a value with its replacement: containers are shared unless
// they changed.
func changed(before, after any) bool {
	switch b := before.(type) {
	case string:
		a, ok := after.(string)
		return !ok || a != b
	case []any:
		a, ok := after.([]any)
		return !ok || len(a) != len(b) || len(a) > 0 && &a[0] != &b[0]
	case map[string]any:
		a, ok := after.(map[string]any)
		return !ok || !sameMap(a, b)
	}
	return false
}

// sameMap reports whether two maps are one.
func sameMap(a, b map[string]any) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}

func (x *inPlace) scalar(v string) (string, bool) {
	if strings.Contains(v, "\n") {
		return x.block(v)
	}
	if !plainText(v) {
		return "", false
	}
	out, err := envsubst.Expand(v, x.opts)
	if err != nil || !plainText(out) || !plainWord(out) {
		return "", false
	}
	return out, true
}

// block expands a text that is written as a literal block, line by line.
func (x *inPlace) block(v string) (string, bool) {
	if !blockText(v) {
		return "", false
	}
	lines := strings.SplitAfter(v, "\n")
	for i, line := range lines {
		if !dollar(line) {
			continue
		}
		body := strings.TrimSuffix(line, "\n")
		out, err := envsubst.Expand(body, x.opts)
		if err != nil || !blockLine(out) || i == 0 && out[0] == ' ' || indent(out) != indent(body) {
			return "", false
		}
		lines[i] = out + line[len(body):]
	}
	return strings.Join(lines, ""), true
}

func indent(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }

// plainText reports whether a string is surely written and read as a plain
// scalar on one line, as far as its characters go.
func plainText(s string) bool {
	if s == "" || len(s) > 512 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		switch {
		case letter, c == '/' && (i > 0 || len(s) > 1), c == '$':
		case c >= '0' && c <= '9', c == '_', c == '.', c == '+', c == '=', c == '~', c == '(', c == ')', c == '^', c == ';':
			if i == 0 {
				return false
			}
		case c == '-', c == '{', c == '}', c == ',', c == '?', c == '@', c == '%', c == '*', c == '\\', c == '[', c == ']':
			if i == 0 {
				return false
			}
		case c == ':':
			if i == 0 || i == len(s)-1 || s[i+1] == ' ' {
				return false
			}
		case c == ' ':
			if i == 0 || i == len(s)-1 || s[i+1] == ' ' || s[i+1] == '#' {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// plainWord reports whether a plain text is read as a string by YAML 1.1: it
// starts with a letter, a slash or a dollar sign and is no special word.
func plainWord(s string) bool {
	c := s[0] | 0x20
	if (c < 'a' || c > 'z') && s[0] != '/' && s[0] != '$' {
		return false
	}
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return false
	}
	return true
}

// blockText reports whether a text of several lines is surely written as a
// literal block and read back as it is.
func blockText(s string) bool {
	if s[0] == ' ' || s[0] == '\n' || s[0] == '\t' || !strings.Contains(strings.TrimRight(s, "\n"), "\n") && !strings.HasSuffix(s, "\n") {
		return false
	}
	if strings.HasSuffix(s, "\n\n") || len(s) > 1<<20 {
		return false
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(s, "\n"), "\n") {
		if line != "" && !blockLine(line) {
			return false
		}
	}
	return true
}

// blockLine reports whether a line is printable and has no space at its end.
func blockLine(s string) bool {
	if s == "" || s[len(s)-1] == ' ' {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
