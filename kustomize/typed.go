// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// typedRun replaces variables in the scalar values of objects.
type typedRun struct {
	l       *loader
	s       *Substitution
	schemas *schemaSet
	o       *Object
	size    int64
	total   int64
	missing []error
	changed bool
	err     error
}

func (l *loader) substituteTyped(s *Substitution, res *Result, made []Object, objects []built) error {
	run := &typedRun{l: l, s: s, schemas: newSchemaSet(made)}
	for i := range made {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		o := &made[i]
		if disabled(o.Unstructured) || o.GetKind() == "CustomResourceDefinition" || !mentions(o.Object) {
			continue
		}
		run.o, run.size, run.changed = o, 0, false
		gvk := o.GroupVersionKind()
		o.Object, _ = run.value(o.Object, objects[i].node, run.schemas.of(gvk), "").(map[string]any)
		if run.err != nil {
			return run.err
		}
		if run.changed {
			res.Stats.Replaced++
		}
	}
	return joinErrors(run.missing)
}

// value returns what stands at a path after substitution. The tree is copied
// where it changes.
func (t *typedRun) value(v any, n *yaml.Node, sch *fieldSchema, path string) any {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			e := v[k]
			if path == "" && skipped(t.o.GetKind(), k) {
				out[k] = e
				continue
			}
			out[k] = t.value(e, child(n, k), sch.field(k), path+"."+k)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			var c *yaml.Node
			if n != nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
				c = n.Content[i]
			}
			out[i] = t.value(e, c, sch.element(), path+"["+strconv.Itoa(i)+"]")
		}
		return out
	case string:
		if !strings.Contains(v, "${") || t.err != nil {
			return v
		}
		return t.scalar(v, n, sch, path)
	}
	return v
}

// skipped are the fields whose values are encoded.
func skipped(kind, key string) bool {
	return kind == "Secret" && key == "data" || kind == "ConfigMap" && key == "binaryData"
}

// scalar replaces in one string.
func (t *typedRun) scalar(v string, n *yaml.Node, sch *fieldSchema, path string) any {
	line := t.o.Origin.Line
	if n != nil && n.Line > 0 && t.o.Origin.Line > 0 && t.o.Origin.Generator == "" {
		line = t.l.lineOf(t.o.Origin, firstName(v))
	}
	out, whole, replaced := t.expand(v, path, line)
	if !replaced || t.err != nil {
		return out
	}
	t.changed = true
	t.size += int64(len(out))
	t.total += int64(len(out))
	if err := limits.Check("substitution-object", t.l.lim.Object, t.size); err != nil {
		t.err = t.place(err)
		return out
	}
	if err := limits.Check("substitution-total", t.l.lim.Substituted, t.total); err != nil {
		t.err = t.place(err)
		return out
	}
	res, why := typedValue(out, whole, plain(n), sch.kind())
	if why != "" {
		t.err = &VariableError{Name: firstName(v), Object: describe(t.o.Unstructured), File: t.o.Origin.File, Line: line, Path: path, Why: why}
	}
	return res
}

func (t *typedRun) place(err error) error {
	return &BuildError{File: t.o.Origin.File, Doc: t.o.Origin.Doc, Line: t.o.Origin.Line, Err: err}
}

// expand replaces the declared ${name} and the escaped $${name} in v. whole is
// set if v is exactly one expression.
func (t *typedRun) expand(v, path string, line int) (out string, whole, replaced bool) {
	var b strings.Builder
	rest := v
	for {
		i := strings.Index(rest, "${")
		if i < 0 {
			break
		}
		name, after, ok := simpleName(rest[i+2:])
		if !ok {
			b.WriteString(rest[:i+2])
			rest = rest[i+2:]
			continue
		}
		val, declared := t.s.Vars[name]
		escaped := i > 0 && rest[i-1] == '$'
		switch {
		case !declared && escaped:
			b.WriteString(rest[:len(rest)-len(after)])
		case !declared:
			b.WriteString(rest[:len(rest)-len(after)])
			if t.s.FailUndeclared {
				t.missing = append(t.missing, &VariableError{
					Name: name, Object: describe(t.o.Unstructured), File: t.o.Origin.File, Line: t.l.lineOf(t.o.Origin, name), Path: path,
					Why: fmt.Sprintf("variable %q is not declared", name),
				})
			}
		case escaped:
			b.WriteString(rest[:i-1])
			b.WriteString("${" + name + "}")
			replaced = true
		default:
			b.WriteString(rest[:i])
			b.WriteString(val.Value)
			whole = i == 0 && rest == v && after == ""
			replaced = true
			if t.s.Explain != nil {
				t.s.Explain(Replacement{File: t.o.Origin.File, Line: line, Path: path, Name: name})
			}
		}
		if int64(b.Len()) > t.l.lim.Object {
			t.err = t.place(&LimitError{Name: "substitution-object", Max: t.l.lim.Object, Got: int64(b.Len())})
			return v, false, false
		}
		rest = after
	}
	b.WriteString(rest)
	return b.String(), whole, replaced
}

// simpleName reads name} and returns what follows.
func simpleName(s string) (name, after string, ok bool) {
	i := strings.IndexByte(s, '}')
	if i <= 0 || !varNameRE.MatchString(s[:i]) {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

func firstName(v string) string {
	for rest := v; ; {
		i := strings.Index(rest, "${")
		if i < 0 {
			return ""
		}
		rest = rest[i+2:]
		if name, _, ok := simpleName(rest); ok {
			return name
		}
	}
}

// plain reports whether a scalar was written without quotes.
func plain(n *yaml.Node) bool {
	return n != nil && n.Kind == yaml.ScalarNode &&
		n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0
}

// typedValue gives a replaced text the type that the schema, or without one its
// spelling, asks for.
func typedValue(s string, whole, plain bool, kind fieldKind) (any, string) {
	switch kind {
	case kindString:
		return s, ""
	case kindInteger:
		if n, ok := canonicalInt(s); ok {
			return n, ""
		}
		return s, "the field is an integer, the value is not"
	case kindNumber:
		if n, ok := canonicalInt(s); ok {
			return n, ""
		}
		if f, ok := canonicalFloat(s); ok {
			return f, ""
		}
		return s, "the field is a number, the value is not"
	case kindBoolean:
		if s == "true" || s == "false" {
			return s == "true", ""
		}
		return s, "the field is a boolean, the value is not"
	case kindIntOrString:
		if n, ok := canonicalInt(s); ok {
			return n, ""
		}
		return s, ""
	case kindUnknown:
	}
	if !whole || !plain {
		return s, ""
	}
	if n, ok := canonicalInt(s); ok {
		return n, ""
	}
	if f, ok := canonicalFloat(s); ok {
		return f, ""
	}
	if s == "true" || s == "false" {
		return s == "true", ""
	}
	return s, ""
}

func canonicalInt(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == s
}

func canonicalFloat(s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && strings.Contains(s, ".") && strconv.FormatFloat(f, 'f', -1, 64) == s
}

// joinedErrors are several errors of one build.
type joinedErrors []error

func joinErrors(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return joinedErrors(errs)
}

const maxJoined = 20

// Error lists the first errors and the number of the others.
func (e joinedErrors) Error() string {
	var b strings.Builder
	for i, err := range e {
		if i == maxJoined {
			fmt.Fprintf(&b, "; and %d more", len(e)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

// Unwrap returns the errors.
func (e joinedErrors) Unwrap() []error { return e }

// Reason returns the condition reason.
func (e joinedErrors) Reason() string { return "BuildFailed" }

// Terminal reports true: the same tree and variables fail again.
func (e joinedErrors) Terminal() bool { return true }
