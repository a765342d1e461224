// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	maxAliases = 100
	maxDepth   = 32
)

// node is a mapping with the path that errors name.
type node struct {
	path   string
	fields map[string]*yaml.Node
	order  []string
}

// decode checks the shape of the whole document and returns its root.
func decode(data []byte) (*node, error) {
	docs, err := decodeYAML(data, 2)
	switch {
	case err == nil:
		return nil, &SyntaxError{Why: "more than one document"}
	case len(docs) == 0, !errors.Is(err, io.EOF):
		return nil, &SyntaxError{Why: "not valid YAML"}
	}
	root := docs[0]
	if root.Kind != yaml.DocumentNode || len(root.Content) != 1 {
		return nil, &SyntaxError{Why: "not a mapping"}
	}
	aliases := 0
	if err := inspect(root.Content[0], "", 0, &aliases); err != nil {
		return nil, err
	}
	return mapping(root.Content[0], "")
}

// inspect refuses depth, aliases and duplicate keys anywhere.
func inspect(n *yaml.Node, path string, depth int, aliases *int) error {
	if depth > maxDepth {
		return &SyntaxError{Field: path, Why: "nested too deeply"}
	}
	switch n.Kind {
	case yaml.AliasNode:
		if *aliases++; *aliases > maxAliases {
			return &SyntaxError{Why: "more than 100 aliases"}
		}
		return nil
	case yaml.MappingNode:
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind != yaml.ScalarNode {
				return &SyntaxError{Field: path, Why: "key is not a string"}
			}
			if seen[k.Value] {
				return &SyntaxError{Field: path, Why: "duplicate key"}
			}
			seen[k.Value] = true
		}
	}
	for _, c := range n.Content {
		if err := inspect(c, path, depth+1, aliases); err != nil {
			return err
		}
	}
	return nil
}

// resolve follows an alias; a cycle ends at a limit.
func resolve(n *yaml.Node) *yaml.Node {
	for range maxDepth {
		if n == nil || n.Kind != yaml.AliasNode {
			return n
		}
		n = n.Alias
	}
	return nil
}

func mapping(n *yaml.Node, path string) (*node, error) {
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, &SyntaxError{Field: path, Why: "not a mapping"}
	}
	out := &node{path: path, fields: map[string]*yaml.Node{}}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i].Value
		if k == "<<" {
			return nil, &SyntaxError{Field: path, Why: "merge keys are not supported"}
		}
		out.fields[k] = n.Content[i+1]
		out.order = append(out.order, k)
	}
	return out, nil
}

// entry finds the entry called name in a list of {name, <key>: …}.
func (n *node) entry(list, key, name string) (*node, error) {
	seq := resolve(n.fields[list])
	if seq == nil || seq.Kind != yaml.SequenceNode {
		return nil, &SyntaxError{Field: list, Why: "not a list"}
	}
	for i, item := range seq.Content {
		path := fmt.Sprintf("%s[%d]", list, i)
		r := resolve(item)
		if r == nil || r.Kind != yaml.MappingNode {
			continue // an entry nobody selected
		}
		m, err := mapping(r, path)
		if err != nil {
			continue
		}
		if s, err := m.str("name"); err != nil || s != name {
			continue
		}
		if err := m.only("name", key); err != nil {
			return nil, err
		}
		return mapping(m.fields[key], path+"."+key)
	}
	return nil, &SyntaxError{Field: list, Why: "selected entry not found"}
}

// only refuses every field that is not listed.
func (n *node) only(allowed ...string) error {
	for _, k := range n.order {
		ok := false
		for _, a := range allowed {
			ok = ok || a == k
		}
		if !ok {
			return &KubeconfigFieldError{Field: n.path + "." + k}
		}
	}
	return nil
}

func (n *node) scalar(key string) (*yaml.Node, error) {
	v := resolve(n.fields[key])
	if v == nil || v.Tag == "!!null" {
		return nil, nil
	}
	if v.Kind != yaml.ScalarNode {
		return nil, &SyntaxError{Field: n.join(key), Why: "not a scalar"}
	}
	return v, nil
}

func (n *node) str(key string) (string, error) {
	v, err := n.scalar(key)
	if v == nil || err != nil {
		return "", err
	}
	if v.Tag != "!!str" {
		return "", &SyntaxError{Field: n.join(key), Why: "not a string"}
	}
	return v.Value, nil
}

func (n *node) boolean(key string) (bool, error) {
	v, err := n.scalar(key)
	if v == nil || err != nil {
		return false, err
	}
	var b bool
	if v.Tag != "!!bool" || v.Decode(&b) != nil {
		return false, &SyntaxError{Field: n.join(key), Why: "not true or false"}
	}
	return b, nil
}

func (n *node) data(key string) ([]byte, error) {
	s, err := n.str(key)
	if err != nil || s == "" {
		return nil, err
	}
	b, err := base64Data(s)
	if err != nil {
		return nil, &SyntaxError{Field: n.join(key), Why: "not base64"}
	}
	return b, nil
}

func (n *node) child(key string) (*node, error) {
	v := resolve(n.fields[key])
	if v == nil || v.Tag == "!!null" {
		return nil, nil
	}
	return mapping(v, n.join(key))
}

func (n *node) strings(key string) ([]string, error) {
	v := resolve(n.fields[key])
	if v == nil || v.Tag == "!!null" {
		return nil, nil
	}
	if v.Kind != yaml.SequenceNode {
		return nil, &SyntaxError{Field: n.join(key), Why: "not a list"}
	}
	var out []string
	for _, c := range v.Content {
		if c = resolve(c); c == nil || c.Kind != yaml.ScalarNode || c.Tag != "!!str" {
			return nil, &SyntaxError{Field: n.join(key), Why: "not a list of strings"}
		}
		out = append(out, c.Value)
	}
	return out, nil
}

func (n *node) env(key string) ([]clientcmdapi.ExecEnvVar, error) {
	v := resolve(n.fields[key])
	if v == nil || v.Tag == "!!null" {
		return nil, nil
	}
	if v.Kind != yaml.SequenceNode {
		return nil, &SyntaxError{Field: n.join(key), Why: "not a list"}
	}
	var out []clientcmdapi.ExecEnvVar
	for i, c := range v.Content {
		m, err := mapping(c, fmt.Sprintf("%s[%d]", n.join(key), i))
		if err != nil {
			return nil, err
		}
		if err := m.only("name", "value"); err != nil {
			return nil, err
		}
		name, err := m.str("name")
		if err != nil {
			return nil, err
		}
		value, err := m.str("value")
		if err != nil {
			return nil, err
		}
		out = append(out, clientcmdapi.ExecEnvVar{Name: name, Value: value})
	}
	return out, nil
}

func (n *node) join(key string) string {
	if n.path == "" {
		return key
	}
	return n.path + "." + key
}
