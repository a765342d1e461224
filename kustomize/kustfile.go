// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	sigsyaml "sigs.k8s.io/yaml"
)

// kustFile is a decoded kustomization file with canonical keys.
type kustFile struct {
	name   string         // display path, of the directory if it was generated
	rel    string         // path in its tree
	fields map[string]any // JSON values, numbers as json.Number
	node   *yaml.Node     // for positions; nil if generated or empty
}

// decodeKust decodes as the engine does: JSON semantics, keys in any case,
// anchors allowed. prune drops what the type does not know.
func (s *store) decodeKust(name, rel string, data []byte, prune func(key string, n *yaml.Node)) (*kustFile, error) {
	k := &kustFile{name: name, rel: rel, fields: map[string]any{}}
	if err := checkText(data); err != nil {
		return nil, &BuildError{File: name, Err: err}
	}
	node, err := parseNode(string(data))
	if err != nil {
		return nil, yamlError(name, 0, 0, err)
	}
	k.node = node
	if node == nil {
		return k, nil
	}
	check := yamlCheck{lim: s.lim, dup: func(key string, line int) {
		if prune != nil {
			prune("\x00"+key, &yaml.Node{Line: line})
		}
	}}
	if err := check.run(node); err != nil {
		return nil, &BuildError{File: name, Line: check.line, Err: err}
	}
	raw, err := sigsyaml.YAMLToJSON(data)
	if err != nil {
		return nil, yamlError(name, 0, 0, err)
	}
	var value any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&value); err != nil {
		return nil, &BuildError{File: name, Err: invalidf("invalid Kustomization: %v", err)}
	}
	m, ok := value.(map[string]any)
	if !ok {
		return nil, &BuildError{File: name, Line: node.Line, Err: invalidf("invalid Kustomization: not a mapping")}
	}
	var drop func(string, string)
	if prune != nil {
		drop = func(path, key string) { prune(path, findKey(node, key)) }
	}
	k.fields = canonical(m, reflect.TypeFor[types.Kustomization](), "", drop).(map[string]any)
	return k, nil
}

// canonical spells the keys of v as the type t does. Of several spellings the
// last in byte order wins, as in the engine's decoder. Unknown keys are passed
// to drop and left out, or kept if drop is nil.
func canonical(v any, t reflect.Type, path string, drop func(path, key string)) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if list, ok := v.([]any); ok && t.Kind() == reflect.Slice {
		for i := range list {
			list[i] = canonical(list[i], t.Elem(), fmt.Sprintf("%s[%d]", path, i), drop)
		}
	}
	if m, ok := v.(map[string]any); ok && t.Kind() == reflect.Struct {
		return canonicalStruct(m, t, path, drop)
	}
	return v
}

func canonicalStruct(m map[string]any, t reflect.Type, path string, drop func(path, key string)) any {
	known := jsonFields(t)
	out := make(map[string]any, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at := strings.TrimPrefix(path+"."+key, ".")
		f, ok := known[strings.ToLower(key)]
		if !ok {
			if drop == nil {
				out[key] = m[key]
			} else {
				drop(at, key)
			}
			continue
		}
		v := canonical(m[key], f.typ, at, drop)
		old, both := out[f.name].(map[string]any)
		if add, isMap := v.(map[string]any); both && isMap {
			maps.Copy(old, add)
			continue
		}
		out[f.name] = v
	}
	return out
}

type jsonField struct {
	name string
	typ  reflect.Type
}

// jsonFields lists the JSON keys of a struct in lower case.
func jsonFields(t reflect.Type) map[string]jsonField {
	out := map[string]jsonField{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && f.Anonymous:
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			for k, v := range jsonFields(inner) {
				if _, ok := out[k]; !ok {
					out[k] = v
				}
			}
			continue
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			name = f.Name
		}
		out[strings.ToLower(name)] = jsonField{name, f.Type}
	}
	return out
}

// findKey finds a mapping key anywhere below n, for positions of warnings.
func findKey(n *yaml.Node, key string) *yaml.Node {
	if n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return n.Content[i]
			}
		}
	}
	for _, c := range n.Content {
		if got := findKey(c, key); got != nil {
			return got
		}
	}
	return nil
}

// line finds the line of a field, list index or key; 0 if it is unknown.
func (k *kustFile) line(path ...any) int {
	n, line := k.node, 0
	for _, p := range path {
		for n != nil && n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n == nil {
			return line
		}
		var next *yaml.Node
		switch p := p.(type) {
		case string:
			if n.Kind == yaml.MappingNode {
				for i := 0; i+1 < len(n.Content); i += 2 {
					if strings.EqualFold(n.Content[i].Value, p) {
						next, line = n.Content[i+1], n.Content[i].Line
					}
				}
			}
		case int:
			if n.Kind == yaml.SequenceNode && p < len(n.Content) {
				next = n.Content[p]
				line = next.Line
			}
		}
		n = next
	}
	return line
}

// fail builds the error for a field.
func (k *kustFile) fail(err error, path ...any) error {
	return &BuildError{File: k.name, Line: k.line(path...), Field: fieldName(path), Err: err}
}

func fieldName(path []any) string {
	var b strings.Builder
	for _, p := range path {
		switch p := p.(type) {
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(p)
		case int:
			fmt.Fprintf(&b, "[%d]", p)
		}
	}
	return b.String()
}

func (k *kustFile) list(field string) []any {
	l, _ := k.fields[field].([]any)
	return l
}

// has reports whether a field is set to something.
func (k *kustFile) has(field string) bool {
	switch v := k.fields[field].(type) {
	case nil:
		return false
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	case string:
		return v != ""
	}
	return true
}

// operands are the fields that bring objects.
var operands = []string{ //nolint:gochecknoglobals // constant
	"resources", "bases", "components", "generators", "configMapGenerator", "secretGenerator",
	"helmCharts", "helmChartInflationGenerator", "crds",
}

func (k *kustFile) empty() bool {
	return !slices.ContainsFunc(operands, k.has)
}

// encode returns the file as the engine reads it: JSON, which is YAML in which
// every string is quoted.
func (k *kustFile) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(k.fields); err != nil {
		return nil, err
	}
	return escapeControls(b.Bytes()), nil
}

// escapeControls escapes the characters that JSON allows raw in a string and
// YAML does not.
func escapeControls(b []byte) []byte {
	if !bytes.ContainsFunc(b, unprintable) {
		return b
	}
	var out bytes.Buffer
	for _, r := range string(b) {
		if unprintable(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.Bytes()
}

func unprintable(r rune) bool {
	return r >= 0x7f && r <= 0x9f || r == 0xfeff || r == 0xfffe || r == 0xffff
}

// typed decodes the served bytes with the engine's own types.
func (k *kustFile) typed(served []byte) (*types.Kustomization, error) {
	dec := json.NewDecoder(bytes.NewReader(served))
	dec.DisallowUnknownFields()
	var out types.Kustomization
	err := dec.Decode(&out)
	if err == nil {
		return &out, nil
	}
	be := &BuildError{File: k.name, Err: invalidf("invalid Kustomization: %v", err)}
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) && te.Field != "" {
		var at []any
		for p := range strings.SplitSeq(te.Field, ".") {
			at = append(at, p)
		}
		be.Field, be.Line = te.Field, k.line(at...)
	}
	return nil, be
}

// kustNames are the names of a kustomization file.
func kustNames() []string { return konfig.RecognizedKustomizationFileNames() }
