// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// document is one YAML document of a file, parsed once.
type document struct {
	index int        // from 1, empty documents included
	base  int        // lines of the file before the document
	node  *yaml.Node // its root, never nil; an engine may change it
	heads []head     // of its objects, as read
}

// head is the identity of an object as the file spells it.
type head struct {
	apiVersion, kind, name string
	line                   int
}

// headsOf lists the objects of a document.
func headsOf(d document) []head {
	one := func(n *yaml.Node) head {
		return head{nodeString(n, "apiVersion"), nodeString(n, "kind"), nodeString(n, "metadata", "name"), d.base + n.Line}
	}
	list := listItems(d.node)
	if list == nil {
		return []head{one(d.node)}
	}
	out := make([]head, len(list.Content))
	for i, n := range list.Content {
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		out[i] = one(n)
	}
	return out
}

// line is where the content starts, from 1.
func (d document) line() int { return d.base + d.node.Line }

// str returns a string field of a mapping, "" if it is absent.
func (d document) str(path ...string) string { return nodeString(d.node, path...) }

var (
	separator = regexp.MustCompile(`\n---.*\n`)
	yamlLine  = regexp.MustCompile(`line (\d+)`)
)

// decode parses the documents of a file as the engine does: separators are
// lines, and only the first document of each part counts. Every bound fires
// before anything expands an alias or recurses.
func (s *store) decode(name string, data []byte) ([]document, error) {
	if err := checkText(data); err != nil {
		return nil, &BuildError{File: name, Err: err}
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	var out []document
	var flat yamlCheck
	part := func(chunk string, base int) error {
		s.mu.Lock()
		s.docs++
		n := s.docs
		s.mu.Unlock()
		if err := limits.Check("docs", s.lim.Docs, n); err != nil {
			return &BuildError{File: name, Line: base + 1, Doc: len(out) + 1, Err: err}
		}
		node, err := parseNode(chunk)
		if err != nil {
			return yamlError(name, len(out)+1, base, err)
		}
		if node == nil {
			return nil
		}
		flat = yamlCheck{lim: s.lim}
		if err := flat.run(node); err != nil {
			return &BuildError{File: name, Doc: len(out) + 1, Line: base + flat.line, Err: err}
		}
		out = append(out, document{index: len(out) + 1, base: base, node: node})
		return nil
	}
	rest, base := text, 0
	for {
		loc := separator.FindStringIndex(rest)
		if loc == nil {
			break
		}
		after := strings.TrimSpace(rest[loc[0]+4 : loc[1]])
		if after != "" && after[0] != '#' {
			line := base + strings.Count(rest[:loc[0]], "\n") + 2
			return nil, &BuildError{File: name, Line: line, Err: invalidf("invalid document separator")}
		}
		if err := part(rest[:loc[0]]+"\n", base); err != nil {
			return nil, err
		}
		base += strings.Count(rest[:loc[1]], "\n")
		rest = rest[loc[1]:]
	}
	if err := part(rest, base); err != nil {
		return nil, err
	}
	return out, nil
}

// checkText refuses what is not UTF-8 text.
func checkText(data []byte) error {
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return invalidf("UTF-16 is not supported")
	case !utf8.Valid(data):
		return invalidf("invalid UTF-8")
	case bytes.IndexByte(data, 0) >= 0:
		return invalidf("NUL character")
	}
	return nil
}

// parseNode returns the root of the first document, nil if it is empty.
func parseNode(chunk string) (*yaml.Node, error) {
	var doc yaml.Node
	err := yaml.NewDecoder(strings.NewReader(chunk)).Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return nil, nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, nil
	}
	return root, nil
}

// yamlError moves the line in a parser's text to the line in the file.
func yamlError(name string, doc, base int, err error) error {
	text := err.Error()
	line := 0
	if m := yamlLine.FindStringSubmatchIndex(text); m != nil {
		if n, convErr := strconv.Atoi(text[m[2]:m[3]]); convErr == nil {
			line = base + n
			text = text[:m[2]] + strconv.Itoa(line) + text[m[3]:]
		}
	}
	return &BuildError{File: name, Doc: doc, Line: line, Err: fmt.Errorf("%w: MalformedYAMLError: %s", ErrInvalid, text)}
}

// yamlCheck bounds a parsed document: depth, size after alias expansion,
// duplicate keys, tags. It never recurses into an alias twice.
type yamlCheck struct {
	lim  Limits
	line int                        // of the offending node
	dup  func(key string, line int) // tolerates duplicate keys if it is set
	size map[*yaml.Node]int64
	high map[*yaml.Node]int64
}

type yamlFrame struct {
	node  *yaml.Node
	child int
	size  int64
	high  int64
}

// run walks iteratively; a node's size and height are known when it is popped.
func (c *yamlCheck) run(root *yaml.Node) error {
	stack := []yamlFrame{{node: root}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if top.child == 0 {
			c.line = top.node.Line
			if err := limits.Check("yaml-depth", c.lim.Depth, int64(len(stack))); err != nil {
				return err
			}
			if err := c.node(top); err != nil {
				return err
			}
		}
		if top.child < len(top.node.Content) {
			next := top.node.Content[top.child]
			top.child++
			stack = append(stack, yamlFrame{node: next})
			continue
		}
		if top.child == 0 {
			top.child = 1
		}
		size, high, node := top.size, top.high+1, top.node
		if node.Anchor != "" {
			if c.size == nil {
				c.size, c.high = map[*yaml.Node]int64{}, map[*yaml.Node]int64{}
			}
			c.size[node], c.high[node] = size, high
		}
		if stack = stack[:len(stack)-1]; len(stack) == 0 {
			return nil
		}
		up := &stack[len(stack)-1]
		up.size += size
		up.high = max(up.high, high)
		c.line = node.Line
		if err := limits.Check("doc-expanded", c.lim.DocExpanded, up.size); err != nil {
			return err
		}
		if err := limits.Check("yaml-depth", c.lim.Depth, int64(len(stack))+up.high); err != nil {
			return err
		}
	}
	return nil
}

// node checks one node when it is entered.
func (c *yamlCheck) node(f *yamlFrame) error {
	n := f.node
	if n.Style&yaml.TaggedStyle != 0 && !plainTag(n.ShortTag()) {
		return invalidf("tag %s is not supported", n.ShortTag())
	}
	switch n.Kind {
	case yaml.AliasNode:
		size, ok := c.size[n.Alias]
		if !ok {
			return invalidf("anchor %q contains itself", n.Value)
		}
		f.size, f.high = size+1, c.high[n.Alias]
	case yaml.ScalarNode:
		f.size = int64(len(n.Value)) + 3
	case yaml.MappingNode:
		f.size = 2
		return c.keys(n)
	default:
		f.size = 2
	}
	return nil
}

func (c *yamlCheck) keys(n *yaml.Node) error {
	if len(n.Content) > 16 {
		seen := make(map[string]struct{}, len(n.Content)/2)
		for i := 0; i < len(n.Content); i += 2 {
			k := n.Content[i]
			if _, dup := seen[k.Value]; dup && k.Kind == yaml.ScalarNode {
				if err := c.duplicate(k); err != nil {
					return err
				}
			}
			seen[k.Value] = struct{}{}
		}
		return nil
	}
	for i := 2; i < len(n.Content); i += 2 {
		for j := 0; j < i; j += 2 {
			if k := n.Content[i]; k.Kind == yaml.ScalarNode && k.Value == n.Content[j].Value && n.Content[j].Kind == yaml.ScalarNode {
				if err := c.duplicate(k); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *yamlCheck) duplicate(k *yaml.Node) error {
	if c.dup != nil {
		c.dup(k.Value, k.Line)
		return nil
	}
	c.line = k.Line
	return &duplicateKeyError{key: k.Value}
}

// duplicateKeyError is a mapping key that occurs twice.
type duplicateKeyError struct{ key string }

func (e *duplicateKeyError) Error() string {
	return fmt.Sprintf("%v: mapping key %q is already defined", ErrInvalid, e.key)
}
func (e *duplicateKeyError) Unwrap() error { return ErrInvalid }

func plainTag(tag string) bool {
	switch tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq":
		return true
	}
	return false
}

// child returns the value of a key of a mapping, following aliases, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			v := n.Content[i+1]
			for v.Kind == yaml.AliasNode {
				v = v.Alias
			}
			return v
		}
	}
	return nil
}

func nodeString(n *yaml.Node, path ...string) string {
	for _, p := range path {
		if n = child(n, p); n == nil {
			return ""
		}
	}
	if n == nil || n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		return ""
	}
	return n.Value
}

// scalars calls add with every value below a node. Depth was checked before.
func scalars(n *yaml.Node, add func(string)) {
	switch n.Kind {
	case yaml.ScalarNode:
		add(n.Value)
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			scalars(n.Content[i], add)
		}
	default:
		for _, c := range n.Content {
			scalars(c, add)
		}
	}
}
