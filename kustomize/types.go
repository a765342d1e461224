// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// fieldKind is the type of a field.
type fieldKind int

const (
	kindUnknown fieldKind = iota
	kindString
	kindInteger
	kindNumber
	kindBoolean
	kindIntOrString
)

// builtins is the built-in schema as a value: a copy taken while it is pristine,
// so that reading it needs no gate.
type builtins struct {
	definitions spec.Definitions
	types       map[schema.GroupVersionKind]string
}

//nolint:gochecknoglobals // made once from the built-in schema
var builtinSchema = sync.OnceValue(func() *builtins {
	warm()
	b := &builtins{types: map[schema.GroupVersionKind]string{}}
	// Nobody is in the lane right after warm; whoever enters it replaces the map
	// of kyaml and leaves the definitions alone.
	process.gate.mu.Lock()
	b.definitions = maps.Clone(openapi.Schema().Definitions)
	process.gate.mu.Unlock()
	for name, d := range b.definitions {
		list, _ := d.Extensions["x-kubernetes-group-version-kind"].([]any)
		for _, e := range list {
			if m, ok := e.(map[string]any); ok {
				str := func(k string) string { s, _ := m[k].(string); return s }
				b.types[schema.GroupVersionKind{Group: str("group"), Version: str("version"), Kind: str("kind")}] = name
			}
		}
	}
	return b
})

// schemaSet knows the types of one build: built-in ones and those of its
// CustomResourceDefinitions.
type schemaSet struct {
	*builtins
	custom map[schema.GroupVersionKind]map[string]any
}

func newSchemaSet(made []Object) *schemaSet {
	s := &schemaSet{builtins: builtinSchema(), custom: map[schema.GroupVersionKind]map[string]any{}}
	for _, o := range made {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
		versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
		for _, v := range versions {
			m, ok := v.(map[string]any)
			if !ok {
				continue
			}
			name, _ := m["name"].(string)
			if sch, ok, _ := unstructured.NestedMap(m, "schema", "openAPIV3Schema"); ok {
				s.custom[schema.GroupVersionKind{Group: group, Version: name, Kind: kind}] = sch
			}
		}
	}
	return s
}

// fieldSchema is the type of a place in an object; nil is unknown.
type fieldSchema struct {
	set    *schemaSet
	spec   *spec.Schema
	custom map[string]any
	meta   bool // metadata of a custom resource
}

func (s *schemaSet) of(gvk schema.GroupVersionKind) *fieldSchema {
	if m, ok := s.custom[gvk]; ok {
		return &fieldSchema{set: s, custom: m, meta: true}
	}
	if name, ok := s.types[gvk]; ok {
		d := s.definitions[name]
		return (&fieldSchema{set: s, spec: &d}).resolved()
	}
	return nil
}

const objectMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

// resolved follows references. Built-in definitions have no cycles of them.
func (f *fieldSchema) resolved() *fieldSchema {
	for range 16 {
		ref := f.spec.Ref.String()
		if ref == "" {
			return f
		}
		const lead = "#/definitions/"
		if len(ref) <= len(lead) {
			return nil
		}
		d, ok := f.set.definitions[ref[len(lead):]]
		if !ok {
			return nil
		}
		f = &fieldSchema{set: f.set, spec: &d}
	}
	return nil
}

func (f *fieldSchema) field(key string) *fieldSchema {
	switch {
	case f == nil:
		return nil
	case f.meta && key == "metadata":
		d := f.set.definitions[objectMeta]
		return &fieldSchema{set: f.set, spec: &d}
	case f.custom != nil:
		if m, ok, _ := unstructured.NestedMap(f.custom, "properties", key); ok {
			return &fieldSchema{set: f.set, custom: m}
		}
		if m, ok := f.custom["additionalProperties"].(map[string]any); ok {
			return &fieldSchema{set: f.set, custom: m}
		}
		return nil
	}
	if p, ok := f.spec.Properties[key]; ok {
		return (&fieldSchema{set: f.set, spec: &p}).resolved()
	}
	if a := f.spec.AdditionalProperties; a != nil && a.Schema != nil {
		return (&fieldSchema{set: f.set, spec: a.Schema}).resolved()
	}
	return nil
}

func (f *fieldSchema) element() *fieldSchema {
	switch {
	case f == nil:
		return nil
	case f.custom != nil:
		if m, ok := f.custom["items"].(map[string]any); ok {
			return &fieldSchema{set: f.set, custom: m}
		}
		return nil
	}
	if f.spec.Items == nil || f.spec.Items.Schema == nil {
		return nil
	}
	return (&fieldSchema{set: f.set, spec: f.spec.Items.Schema}).resolved()
}

func (f *fieldSchema) kind() fieldKind {
	if f == nil {
		return kindUnknown
	}
	typ, format := "", ""
	if f.custom != nil {
		typ, _ = f.custom["type"].(string)
		format, _ = f.custom["format"].(string)
		if b, _ := f.custom["x-kubernetes-int-or-string"].(bool); b {
			return kindIntOrString
		}
	} else {
		if len(f.spec.Type) == 1 {
			typ = f.spec.Type[0]
		}
		format = f.spec.Format
	}
	switch {
	case format == "int-or-string":
		return kindIntOrString
	case typ == "string":
		return kindString
	case typ == "integer":
		return kindInteger
	case typ == "number":
		return kindNumber
	case typ == "boolean":
		return kindBoolean
	}
	return kindUnknown
}
