// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
	"sigs.k8s.io/kustomize/kyaml/yaml/merge2"

	"github.com/gitops-kit/sdk/kustomize/envsubst"
)

// Parts that are tested against each other.
var (
	ExpandInPlace = expandInPlace
	ParseRemote   = parseRemote
)

// ExpandText replaces in the YAML text of an object.
func ExpandText(v map[string]any, o envsubst.Options) (map[string]any, error) {
	u, err := expandObject(&unstructured.Unstructured{Object: v}, o)
	if err != nil {
		return nil, err
	}
	return u.Object, nil
}

// Merges applies a patch with both implementations. quick is nil if the first
// leaves it to the second.
func Merges(dest, patch string) (quick, slow map[string]any, err error) {
	d, err1 := parseNode(dest)
	p, err2 := parseNode(patch)
	if err1 != nil || err2 != nil || d == nil || p == nil || d.Kind != yaml.MappingNode || p.Kind != yaml.MappingNode {
		return nil, nil, ErrInvalid
	}
	x := &indexed{l: &loader{}, scopes: map[kyaml.TypeMeta]bool{}}
	r, err := x.object(copyNode(d))
	if err != nil {
		return nil, nil, err
	}
	if _, err := x.object(p); err != nil {
		return nil, nil, err
	}
	if x.quickMerge(r, copyNode(p)) {
		if quick, err = objectOf(r.node); err != nil {
			return nil, nil, err
		}
	}
	name, ns, kind := r.name, r.namespace, r.kind
	out, err := merge2.Merge(kyaml.NewRNode(p), kyaml.NewRNode(d), kyaml.MergeOptions{ListIncreaseDirection: kyaml.MergeOptionsListPrepend})
	if err != nil || out == nil {
		return quick, nil, ErrInvalid
	}
	out.SetKind(kind)
	if err := out.SetName(name); err != nil {
		return quick, nil, err
	}
	if err := out.SetNamespace(ns); err != nil {
		return quick, nil, err
	}
	raw, err := out.MarshalJSON()
	if err != nil {
		return quick, nil, err
	}
	return quick, slow, utiljson.Unmarshal(raw, &slow)
}

// JSONValue converts a document directly and the engine's way. direct is nil if
// the first leaves it to the second.
func JSONValue(text string) (direct, slow map[string]any, err error) {
	n, err := parseNode(text)
	if err != nil || n == nil || n.Kind != yaml.MappingNode {
		return nil, nil, ErrInvalid
	}
	if err := (&yamlCheck{lim: Limits{}.effective(false)}).run(n); err != nil {
		return nil, nil, err
	}
	if v, ok := jsonValue(n); ok {
		direct, _ = v.(map[string]any)
	}
	raw, err := kyaml.NewRNode(n).MarshalJSON()
	if err != nil {
		return direct, nil, err
	}
	return direct, slow, utiljson.Unmarshal(raw, &slow)
}

// SchemaParses is how often this process parsed the built-in schema.
func SchemaParses() (parses, lanes int64) { return process.parses.Load(), process.lanes.Load() }
