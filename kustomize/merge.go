// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The functions of this file apply the strategic merge patches that most people
// write: maps, scalars, lists with one merge key, null to remove. They touch
// only what a patch names. kyaml visits the whole object and has rules for
// nulls, directives, duplicate and missing keys; whatever could bring one of
// them into play is left to it.

// simpleTree reports whether kyaml would leave a tree alone that no patch
// names, or graft it as it is: no nulls, no directives, lists with unique keys.
func simpleTree(n *yaml.Node, s *mergeSchema) bool {
	if strings.Contains(n.LineComment, "{") || strings.Contains(n.HeadComment, "{") || n.Anchor != "" {
		return false
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Tag != "!!null" && n.Tag != "" && n.Style&yaml.TaggedStyle == 0
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind != yaml.ScalarNode || strings.HasPrefix(k.Value, "$") || strings.Contains(k.LineComment, "{") || strings.Contains(k.HeadComment, "{") ||
				!simpleTree(n.Content[i+1], s.field(k.Value)) {
				return false
			}
		}
		return true
	case yaml.SequenceNode:
		if s.associative() && !simpleList(n, s.keys) {
			return false
		}
		for _, c := range n.Content {
			if !simpleTree(c, s.element()) {
				return false
			}
		}
		return true
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return false
}

// simpleList reports whether each element of an associative list is told apart
// by its key, so that merging the list with itself changes nothing.
func simpleList(n *yaml.Node, keys []string) bool {
	if len(keys) == 0 {
		return uniqueScalars(n)
	}
	full := 0 // elements with all keys
	for i, c := range n.Content {
		if c.Kind != yaml.MappingNode || len(c.Content) == 0 {
			return false
		}
		have := 0
		for j, key := range keys {
			v := child(c, key)
			if v == nil {
				if j == 0 {
					return false
				}
				continue
			}
			if v.Kind != yaml.ScalarNode || v.Value == "" {
				return false
			}
			have++
		}
		switch have {
		case len(keys):
			full++
		case 1:
		default:
			return false
		}
		for _, other := range n.Content[:i] {
			if sameKeys(c, other, keys[:have]) {
				return false
			}
		}
	}
	return len(keys) == 1 || full == 0 || full == len(n.Content)
}

func uniqueScalars(n *yaml.Node) bool {
	for i, c := range n.Content {
		if c.Kind != yaml.ScalarNode || c.Value == "" || slices.ContainsFunc(n.Content[:i], func(o *yaml.Node) bool { return o.Value == c.Value }) {
			return false
		}
	}
	return true
}

func sameKeys(a, b *yaml.Node, keys []string) bool {
	for _, key := range keys {
		x, y := child(a, key), child(b, key)
		if x == nil || y == nil || x.Value != y.Value {
			return false
		}
	}
	return true
}

// canMerge reports whether a patch can be merged here: it goes through patch and
// object side by side, and changes nothing.
func canMerge(dest, patch *yaml.Node, s *mergeSchema) bool {
	switch {
	case isNull(patch):
		return patch.Tag == "!!null"
	case dest == nil:
		return simpleTree(patch, s)
	case dest.Kind != patch.Kind || strings.Contains(patch.LineComment, "{") || strings.Contains(patch.HeadComment, "{"):
		return false
	}
	switch patch.Kind {
	case yaml.ScalarNode:
		return simpleTree(patch, s)
	case yaml.SequenceNode:
		if !s.associative() {
			return simpleTree(patch, s)
		}
		return canMergeList(dest, patch, s)
	case yaml.MappingNode:
		for i := 0; i+1 < len(patch.Content); i += 2 {
			k := patch.Content[i]
			if k.Kind != yaml.ScalarNode || strings.HasPrefix(k.Value, "$") || strings.Contains(k.LineComment, "{") || strings.Contains(k.HeadComment, "{") {
				return false
			}
			if !canMerge(child(dest, k.Value), patch.Content[i+1], s.field(k.Value)) {
				return false
			}
		}
		return true
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return false
}

func canMergeList(dest, patch *yaml.Node, s *mergeSchema) bool {
	if len(s.keys) != 1 || !keyed(patch, s.keys[0]) {
		return false
	}
	for _, c := range patch.Content {
		if !canMerge(elementOf(dest, s.keys[0], child(c, s.keys[0]).Value), c, s.element()) {
			return false
		}
	}
	return true
}

// keyed reports whether every element of a list has a key of its own.
func keyed(n *yaml.Node, key string) bool { return simpleList(n, []string{key}) }

func elementOf(list *yaml.Node, key, value string) *yaml.Node {
	for _, c := range list.Content {
		if v := child(c, key); v != nil && v.Value == value {
			return c
		}
	}
	return nil
}

// mergeInto merges what canMerge approved.
func mergeInto(dest, patch *yaml.Node, s *mergeSchema) {
	for i := 0; i+1 < len(patch.Content); i += 2 {
		key, value := patch.Content[i].Value, patch.Content[i+1]
		have := child(dest, key)
		switch {
		case isNull(value):
			removeKey(dest, key)
		case have == nil:
			dest.Content = append(dest.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key, Style: patch.Content[i].Style}, copyNode(value))
		case value.Kind == yaml.MappingNode:
			mergeInto(have, value, s.field(key))
		case value.Kind == yaml.SequenceNode && s.field(key).associative():
			mergeList(have, value, s.field(key))
		default:
			override(have, value)
		}
	}
}

// override puts a value in the place of another. The style stays, so that a
// number in the place of a quoted string becomes a string.
func override(have, value *yaml.Node) {
	line, style := have.Line, have.Style
	*have = *copyNode(value)
	have.Line = line
	if have.Kind != yaml.ScalarNode {
		return
	}
	have.Style = style
	if style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		have.Tag = "!!str"
	}
}

// mergeList puts the patch's elements first, in its order, merged with those of
// the same key, and the others after them.
func mergeList(dest, patch *yaml.Node, s *mergeSchema) {
	key := s.keys[0]
	out := make([]*yaml.Node, 0, len(dest.Content)+len(patch.Content))
	for _, c := range patch.Content {
		if have := elementOf(dest, key, child(c, key).Value); have != nil {
			mergeInto(have, c, s.element())
			out = append(out, have)
			continue
		}
		out = append(out, copyNode(c))
	}
	for _, c := range dest.Content {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	dest.Content = out
}

// quickMerge applies a patch here if it can, and reports whether it did. The
// identity stays: metadata.name and namespace, and the kind.
func (x *indexed) quickMerge(r *resource, patch *yaml.Node) bool {
	if len(x.merges) == 0 {
		x.merges = map[[3]string]*mergeSchema{}
	}
	type3 := [3]string{r.group, r.version, r.kind}
	s, ok := x.merges[type3]
	if !ok {
		s = builtinMerges().of(r.group, r.version, r.kind)
		x.merges[type3] = s
	}
	if !r.simple {
		if r.simple = simpleTree(r.node, s); !r.simple {
			return false
		}
	}
	if r.kind == "List" || !canMerge(r.node, patch, s) {
		return false
	}
	meta := child(patch, "metadata")
	for _, f := range []string{"labels", "annotations"} {
		if m := child(meta, f); m != nil && len(m.Content) == 0 {
			return false // kustomize drops it from some patches
		}
	}
	for i := 0; i+1 < len(patch.Content); i += 2 {
		key, value := patch.Content[i], patch.Content[i+1]
		switch key.Value {
		case "apiVersion", "kind":
		case "metadata":
			mergeMetadata(r.node, meta, s.field("metadata"))
		default:
			one := yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, value}}
			mergeInto(r.node, &one, s)
		}
	}
	return true
}

// mergeMetadata merges all of a patch's metadata but the identity.
func mergeMetadata(n, meta *yaml.Node, s *mergeSchema) {
	if meta == nil || isNull(meta) {
		return
	}
	rest := yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(meta.Content); i += 2 {
		if key := meta.Content[i].Value; key != "name" && key != "namespace" {
			rest.Content = append(rest.Content, meta.Content[i], meta.Content[i+1])
		}
	}
	mergeInto(child(n, "metadata"), &rest, s)
}
