// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// mergeSchema is what a strategic merge needs to know about a type: which lists
// merge, and by which keys. Compiled once, then immutable.
type mergeSchema struct {
	fields map[string]*mergeSchema
	values *mergeSchema // of a map without named fields
	items  *mergeSchema
	merges bool
	keys   []string
}

// mergeSchemas compiles types of the built-in schema when they are needed.
type mergeSchemas struct {
	*builtins
	mu   sync.Mutex
	refs map[string]*mergeSchema
}

//nolint:gochecknoglobals // made once from the built-in schema
var builtinMerges = sync.OnceValue(func() *mergeSchemas {
	return &mergeSchemas{builtins: builtinSchema(), refs: map[string]*mergeSchema{}}
})

// of returns the schema of a type, nil if it is unknown.
func (m *mergeSchemas) of(group, version, kind string) *mergeSchema {
	name, ok := m.types[schema.GroupVersionKind{Group: group, Version: version, Kind: kind}]
	if !ok {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.definition(name)
}

func (m *mergeSchemas) definition(name string) *mergeSchema {
	if s, ok := m.refs[name]; ok {
		return s
	}
	d, ok := m.definitions[name]
	if !ok {
		return nil
	}
	s := &mergeSchema{}
	m.refs[name] = s // before the fields: definitions may contain themselves
	m.fill(s, &d)
	return s
}

const definitionLead = "#/definitions/"

// compile returns the schema of a field; a reference stands for its target.
func (m *mergeSchemas) compile(d *spec.Schema) *mergeSchema {
	if ref := d.Ref.String(); ref != "" {
		return m.definition(strings.TrimPrefix(ref, definitionLead))
	}
	s := &mergeSchema{}
	m.fill(s, d)
	return s
}

func (m *mergeSchemas) fill(s *mergeSchema, d *spec.Schema) {
	if len(d.Properties) > 0 {
		s.fields = make(map[string]*mergeSchema, len(d.Properties))
		for name, p := range d.Properties {
			s.fields[name] = m.compile(&p)
		}
	}
	if a := d.AdditionalProperties; a != nil && a.Schema != nil {
		s.values = m.compile(a.Schema)
	}
	if len(d.Type) == 1 && d.Type[0] == "array" && d.Items != nil && d.Items.Schema != nil {
		s.items = m.compile(d.Items.Schema)
	}
	strategy, ok := d.Extensions["x-kubernetes-patch-strategy"].(string)
	if !ok {
		return
	}
	s.merges = slices.Contains(strings.Split(strategy, ","), "merge")
	if list, ok := d.Extensions["x-kubernetes-list-map-keys"].([]any); ok {
		for _, k := range list {
			if name, ok := k.(string); ok {
				s.keys = append(s.keys, name)
			}
		}
		return
	}
	if key, ok := d.Extensions["x-kubernetes-patch-merge-key"].(string); ok {
		s.keys = []string{key}
	}
}

func (s *mergeSchema) field(name string) *mergeSchema {
	if s == nil {
		return nil
	}
	if f, ok := s.fields[name]; ok {
		return f
	}
	return s.values
}

func (s *mergeSchema) element() *mergeSchema {
	if s == nil {
		return nil
	}
	return s.items
}

func (s *mergeSchema) associative() bool { return s != nil && s.merges }
