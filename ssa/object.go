// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/gitops-kit/sdk/ssa/internal/limits"
	"github.com/gitops-kit/sdk/ssa/inventory"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ID identifies an object independently of its API version.
type ID = inventory.ID

// IDOf returns the identity of o.
func IDOf(o *unstructured.Unstructured) ID {
	gk := o.GroupVersionKind().GroupKind()
	return ID{Namespace: o.GetNamespace(), Name: o.GetName(), Group: gk.Group, Kind: gk.Kind}
}

func groupKind(id ID) schema.GroupKind { return schema.GroupKind{Group: id.Group, Kind: id.Kind} }

// copyValue returns a deep copy made of map[string]any, []any, string, bool,
// int64, float64 and nil only, and adds the approximate size as JSON to size.
func copyValue(v any, depth int64, size *int64) (any, error) {
	if depth < 0 {
		return nil, &LimitError{Name: "yaml-depth", Max: 256, Got: 257}
	}
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		*size += 2
		for k, e := range v {
			c, err := copyValue(e, depth-1, size)
			if err != nil {
				return nil, err
			}
			*size += int64(len(k)) + 4
			out[k] = c
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		*size += 2 + int64(len(v))
		for i, e := range v {
			c, err := copyValue(e, depth-1, size)
			if err != nil {
				return nil, err
			}
			out[i] = c
		}
		return out, nil
	}
	c, n, err := scalarValue(v)
	*size += n
	return c, err
}

// scalarValue gives a scalar the type that JSON has for it. One that has it
// already is returned as the interface it came in, which costs no allocation.
func scalarValue(in any) (any, int64, error) {
	switch v := in.(type) {
	case nil:
		return nil, 4, nil
	case string:
		return in, int64(len(v)) + 2, nil
	case bool:
		return in, 5, nil
	case int64:
		return in, 8, nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, 0, fmt.Errorf("%w: number is not finite", ErrInvalidObject)
		}
		return in, 8, nil
	case int:
		return int64(v), 8, nil
	case int32:
		return int64(v), 8, nil
	case uint32:
		return int64(v), 8, nil
	case uint64:
		if v > math.MaxInt64 {
			return float64(v), 8, nil
		}
		return int64(v), 8, nil
	case float32:
		return float64(v), 8, nil
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i, 8, nil
		}
		f, err := v.Float64()
		if err != nil {
			return nil, 0, fmt.Errorf("%w: number %q", ErrInvalidObject, v.String())
		}
		return f, 8, nil
	}
	return nil, 0, fmt.Errorf("%w: value of type %T", ErrInvalidObject, in)
}

// copyObject copies an input object within the limits.
func copyObject(o map[string]any, l Limits) (map[string]any, error) {
	var size int64
	c, err := copyValue(o, l.depth(), &size)
	if err != nil {
		return nil, err
	}
	if err := limits.Check("object", l.object(), size); err != nil {
		return nil, err
	}
	m, _ := c.(map[string]any)
	return m, nil
}

// clone deep-copies a value that came from copyValue or a server.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return cloneMap(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = clone(v[i])
		}
		return out
	}
	return v
}

func cloneMap(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = clone(v)
	}
	return out
}

// nestedMap returns the map at path, or nil.
func nestedMap(m map[string]any, path ...string) map[string]any {
	for _, p := range path {
		next, ok := m[p].(map[string]any)
		if !ok {
			return nil
		}
		m = next
	}
	return m
}

func nestedString(m map[string]any, path ...string) string {
	n := len(path) - 1
	s, _ := nestedMap(m, path[:n]...)[path[n]].(string)
	return s
}

// ensureMap returns the map at key, making it when missing or of another type.
func ensureMap(m map[string]any, key string) map[string]any {
	c, ok := m[key].(map[string]any)
	if !ok {
		c = map[string]any{}
		m[key] = c
	}
	return c
}
