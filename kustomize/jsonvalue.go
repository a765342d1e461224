// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
)

// objectOf converts a node to what kustomize prints for it, read as JSON. The
// direct way covers what manifests hold; the rest goes the engine's way.
func objectOf(n *yaml.Node) (map[string]any, error) {
	if v, ok := jsonValue(n); ok {
		if m, ok := v.(map[string]any); ok {
			return m, nil
		}
	}
	raw, err := kyaml.NewRNode(n).MarshalJSON()
	if err != nil {
		return nil, invalidf("object cannot be encoded")
	}
	var m map[string]any
	if err := utiljson.Unmarshal(raw, &m); err != nil {
		return nil, invalidf("object cannot be decoded")
	}
	return m, nil
}

// jsonValue reports false for what it leaves to the engine. Depth was bounded
// when the file was read.
func jsonValue(n *yaml.Node) (any, bool) {
	switch n.Kind {
	case yaml.ScalarNode:
		return jsonScalar(n)
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, c := range n.Content {
			v, ok := jsonValue(c)
			if !ok {
				return nil, false
			}
			out[i] = v
		}
		return out, true
	case yaml.MappingNode:
		out := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if !plainKey(k) {
				return nil, false
			}
			v, ok := jsonValue(n.Content[i+1])
			if !ok {
				return nil, false
			}
			out[k.Value] = v
		}
		return out, true
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return nil, false
}

// plainKey reports whether a key is a string, or looks like a number.
func plainKey(k *yaml.Node) bool {
	if k.Kind != yaml.ScalarNode || k.Style&(yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) != 0 || !simpleText(k.Value) {
		return false
	}
	if k.Style != 0 && k.Style != yaml.FlowStyle {
		return true
	}
	tag := k.Tag
	if tag == "" {
		tag = k.ShortTag()
	}
	return tag == "!!str"
}

func jsonScalar(n *yaml.Node) (any, bool) {
	const quotes = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle
	if n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		return nil, false
	}
	tag := n.Tag
	if tag == "" {
		tag = n.ShortTag()
	}
	switch {
	case tag == "!!str":
		return n.Value, simpleText(n.Value) && n.Style&yaml.FoldedStyle == 0
	case n.Style&(quotes|yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return nil, false
	case tag == "!!null":
		return nil, n.Value != "" // in a flow map an unwritten null comes out as text
	case tag == "!!bool":
		return n.Value == "true", n.Value == "true" || n.Value == "false"
	case tag == "!!int":
		v, err := strconv.ParseInt(n.Value, 10, 64)
		return v, err == nil && (v == 0 && n.Value == "0" || n.Value[0] != '0' && n.Value[0] != '+' && n.Value[0] != '-' || n.Value[0] == '-' && n.Value[1] != '0')
	case tag == "!!float":
		v, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || math.IsInf(v, 0) || math.IsNaN(v) || v == math.Trunc(v) {
			return nil, false
		}
		return v, true
	}
	return nil, false
}

// simpleText reports whether a string survives a round trip through any YAML
// style: printable, and no lines whose space the emitter would change.
func simpleText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\n' || c >= 0x7f {
			return printable(s)
		}
	}
	return simpleLines(s)
}

func printable(s string) bool {
	for _, r := range s {
		if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0xfeff && r <= 0xffff && r != 0xfffd || r == 0xfffd {
			return false
		}
	}
	return simpleLines(s)
}

func simpleLines(s string) bool {
	if !strings.Contains(s, "\n") {
		return true
	}
	return s[0] != '\n' && s[0] != ' ' && s[0] != '\t' && !strings.Contains(s, " \n") && !strings.Contains(s, "\t\n")
}
