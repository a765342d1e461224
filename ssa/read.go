// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/gitops-kit/sdk/ssa/internal/jsonx"
	"github.com/gitops-kit/sdk/ssa/internal/limits"
	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// ReadOptions configure [ReadObjects].
type ReadOptions struct {
	// SkipNonObjects drops documents without apiVersion, kind and name
	// instead of refusing them.
	SkipNonObjects bool
	// Limits bound the input: Input, Docs, DocExpanded, Depth and Objects.
	Limits Limits
}

// localConfig is the group of documents that configure a build tool.
const localConfig = "kustomize.config.k8s.io"

// ReadObjects reads YAML documents, or JSON documents one after the other.
// Kinds ending in List are flattened; empty documents and those of group
// kustomize.config.k8s.io are dropped. The first document that is not an
// object is a [*DecodeError]; it wraps a [*LimitError] for a limit.
func ReadObjects(r io.Reader, o ReadOptions) ([]*unstructured.Unstructured, error) {
	data, err := io.ReadAll(io.LimitReader(r, plusOne(o.Limits.input()))) //nolint:forbidigo // bounded here
	if err != nil {
		return nil, fmt.Errorf("read objects: %w", err)
	}
	if err := limits.Check("input", o.Limits.input(), int64(len(data))); err != nil {
		return nil, &DecodeError{Err: err}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, &DecodeError{Line: 1, Err: fmt.Errorf("%w: not UTF-8 text", ErrInvalidObject)}
	}
	d := &documents{o: o}
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		err = d.json(trimmed)
		if err != nil && isYAMLFlow(trimmed) {
			d = &documents{o: o}
			err = d.yaml(data)
		}
	} else {
		err = d.yaml(data)
	}
	if err != nil {
		return nil, err
	}
	return d.out, nil
}

func plusOne(n int64) int64 {
	if n == unlimited {
		return n
	}
	return n + 1
}

// isYAMLFlow reports whether text that starts like JSON may be YAML: it has
// document separators, or keys without quotes.
func isYAMLFlow(text []byte) bool {
	rest := bytes.TrimLeft(text[1:], " \t\r\n")
	return len(rest) > 0 && rest[0] != '"' && rest[0] != '}' || bytes.Contains(text, []byte("\n---"))
}

// documents collects the objects of one input.
type documents struct {
	o    ReadOptions
	n    int
	line int
	out  []*unstructured.Unstructured
}

func (d *documents) fail(err error) error { return &DecodeError{Document: d.n, Line: d.line, Err: err} }

// json reads JSON values one after the other.
func (d *documents) json(data []byte) error {
	text := string(data)
	for text = strings.TrimLeft(text, " \t\r\n"); text != ""; text = strings.TrimLeft(text, " \t\r\n") {
		dec := jsonx.Decoder{Strict: true}
		end, err := dec.Skip(text)
		if err != nil {
			return d.fail(err)
		}
		if err := limits.Check("doc-expanded", d.o.Limits.docExpanded(), int64(end)); err != nil {
			return d.fail(err)
		}
		v, err := dec.Value(text[:end])
		if err != nil {
			return d.fail(err)
		}
		if err := d.document(v); err != nil {
			return err
		}
		text = text[end:]
	}
	return nil
}

// yaml splits the text at lines that start with "---".
func (d *documents) yaml(data []byte) error {
	line := 1
	for len(data) > 0 {
		doc, rest, lines := nextDocument(data)
		d.line = line
		if err := d.yamlDocument(doc); err != nil {
			return err
		}
		data = rest
		line += lines
	}
	return nil
}

// nextDocument cuts the first document off; lines counts what was consumed.
func nextDocument(data []byte) (doc, rest []byte, lines int) {
	for at := 0; at < len(data); {
		end := bytes.IndexByte(data[at:], '\n')
		next := len(data)
		if end >= 0 {
			next = at + end + 1
		}
		if separator(data[at:next]) && at > 0 {
			return data[:at], data[at:], lines
		}
		lines++
		at = next
	}
	return data, nil, lines
}

func separator(line []byte) bool {
	if !bytes.HasPrefix(line, []byte("---")) {
		return false
	}
	return len(line) == 3 || strings.ContainsRune(" \t\r\n", rune(line[3]))
}

func (d *documents) yamlDocument(doc []byte) error {
	if blank(doc) {
		return nil
	}
	if err := d.expand(doc); err != nil {
		return d.fail(err)
	}
	b, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		return d.fail(fmt.Errorf("%w: %s", ErrInvalidObject, oneLine(redactYAML(err))))
	}
	dec := jsonx.Decoder{Strict: true}
	v, err := dec.Value(string(b))
	if err != nil {
		return d.fail(err)
	}
	return d.document(v)
}

// redactYAML keeps of a YAML error where it is and what kind it is, not the
// text that the document had there.
func redactYAML(err error) string {
	s := err.Error()
	if i := strings.IndexByte(s, '`'); i >= 0 {
		s = s[:i] + "…"
	}
	return s
}

func blank(doc []byte) bool {
	for line := range bytes.Lines(doc) {
		t := bytes.TrimSpace(line)
		if len(t) > 0 && t[0] != '#' && !bytes.Equal(t, []byte("---")) && !bytes.Equal(t, []byte("...")) {
			return false
		}
	}
	return true
}

// expand checks size and depth that the document would have with all aliases
// expanded, without expanding them.
func (d *documents) expand(doc []byte) error {
	var n yamlv3.Node
	if err := yamlv3.Unmarshal(doc, &n); err != nil {
		return fmt.Errorf("%w: %s", ErrInvalidObject, oneLine(redactYAML(err)))
	}
	w := &expander{max: d.o.Limits.docExpanded(), depth: d.o.Limits.depth(), sizes: map[*yamlv3.Node]nodeSize{}}
	size, err := w.measure(&n, 0)
	if err != nil {
		return err
	}
	if err := limits.Check("yaml-depth", w.depth, size.depth-1); err != nil { // the document node is a level, too
		return err
	}
	return limits.Check("doc-expanded", w.max, size.bytes)
}

type nodeSize struct{ bytes, depth int64 }

type expander struct {
	max, depth int64
	sizes      map[*yamlv3.Node]nodeSize
	open       map[*yamlv3.Node]bool
}

// measure adds up what a node holds; the size of an anchor is computed once.
func (w *expander) measure(n *yamlv3.Node, level int64) (nodeSize, error) {
	if s, ok := w.sizes[n]; ok {
		return s, nil
	}
	if level > w.depth+2 {
		return nodeSize{}, &LimitError{Name: "yaml-depth", Max: w.depth, Got: level}
	}
	if n.Kind == yamlv3.AliasNode {
		if n.Alias == nil || w.open[n.Alias] {
			return nodeSize{}, fmt.Errorf("%w: alias inside of itself", ErrInvalidObject)
		}
		return w.measure(n.Alias, level)
	}
	if w.open == nil {
		w.open = map[*yamlv3.Node]bool{}
	}
	w.open[n] = true
	defer delete(w.open, n)
	s := nodeSize{bytes: int64(len(n.Value)) + 4}
	for _, c := range n.Content {
		cs, err := w.measure(c, level+1)
		if err != nil {
			return s, err
		}
		s.bytes += cs.bytes
		s.depth = max(s.depth, cs.depth)
		if s.bytes > w.max {
			return s, &LimitError{Name: "doc-expanded", Max: w.max, Got: s.bytes}
		}
	}
	if n.Kind != yamlv3.ScalarNode {
		s.depth++
	}
	w.sizes[n] = s
	return s, nil
}

// document takes one decoded document.
func (d *documents) document(v any) error {
	if int64(d.n) >= d.o.Limits.docs() {
		return d.fail(&LimitError{Name: "docs", Max: d.o.Limits.docs(), Got: int64(d.n) + 1})
	}
	defer func() { d.n++ }()
	m, ok := v.(map[string]any)
	switch {
	case v == nil || ok && len(m) == 0:
		return nil
	case !ok:
		if d.o.SkipNonObjects {
			return nil
		}
		return d.fail(fmt.Errorf("%w: the document is not a map", ErrInvalidObject))
	}
	return d.object(m, 0)
}

func (d *documents) object(m map[string]any, level int) error {
	u := &unstructured.Unstructured{Object: m}
	if gvk := u.GroupVersionKind(); gvk.Group == localConfig {
		return nil
	}
	if items, ok := m["items"].([]any); ok && strings.HasSuffix(u.GetKind(), "List") && u.GetName() == "" {
		if level > 4 {
			return d.fail(&LimitError{Name: "yaml-depth", Max: 4, Got: int64(level)})
		}
		for _, it := range items {
			im, ok := it.(map[string]any)
			if !ok {
				return d.fail(fmt.Errorf("%w: an item of the list is not a map", ErrInvalidObject))
			}
			if err := d.object(im, level+1); err != nil {
				return err
			}
		}
		return nil
	}
	if err := identity(u); err != nil {
		generated := u.GetGenerateName() != "" && u.GetKind() != "" && u.GetAPIVersion() != ""
		switch {
		case generated: // Plan says so, with its identity
		case d.o.SkipNonObjects:
			return nil
		default:
			return d.fail(err)
		}
	}
	d.out = append(d.out, u)
	return wrapLimit(d, limits.Check("objects", d.o.Limits.objects(), int64(len(d.out))))
}

func wrapLimit(d *documents, err error) error {
	if l, ok := errors.AsType[*LimitError](err); ok {
		return d.fail(l)
	}
	return err
}
