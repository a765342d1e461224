// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fieldset

import "fmt"

// FromMap reads a fieldsV1 that was decoded already. Children come in the
// order of the map's iteration, which no caller may rely on.
func FromMap(m map[string]any) (Set, error) {
	s := Set{nodes: make([]Node, 1, 64)}
	if _, err := s.fromMap(Root, m, 0); err != nil {
		return Set{}, err
	}
	return s, nil
}

func (s *Set) fromMap(parent int32, m map[string]any, depth int) (member bool, err error) {
	if depth > maxDepth {
		return false, fmt.Errorf("%w: too deep", ErrMalformed)
	}
	last := int32(0)
	for key, v := range m {
		sub, ok := v.(map[string]any)
		if !ok {
			return false, fmt.Errorf("%w: element %q is not an object", ErrMalformed, key)
		}
		if key == "." {
			if len(sub) != 0 {
				return false, fmt.Errorf("%w: member is not empty", ErrMalformed)
			}
			member = true
			continue
		}
		n, err := s.element(key)
		if err != nil {
			return false, err
		}
		if n.Kind != Field && s.Child(parent, n.Kind, n.Name) != 0 {
			return false, fmt.Errorf("%w: repeated element %q", ErrMalformed, key)
		}
		i := int32(len(s.nodes)) //nolint:gosec // bounded by the size limit of the object
		s.nodes = append(s.nodes, n)
		if last == 0 {
			s.nodes[parent].first = i
		} else {
			s.nodes[last].next = i
		}
		last = i
		own, err := s.fromMap(i, sub, depth+1)
		if err != nil {
			return false, err
		}
		s.nodes[i].Member = own
	}
	return member || last == 0, nil
}

// Merge returns the union of two decoded fieldsV1 in decoded form. Neither
// input is changed.
func Merge(a, b map[string]any) map[string]any {
	if len(a) == 0 && len(b) == 0 {
		return map[string]any{}
	}
	out := make(map[string]any, len(a)+len(b))
	for k, v := range a {
		m, _ := v.(map[string]any)
		out[k] = Merge(m, nil)
	}
	for k, v := range b {
		m, _ := v.(map[string]any)
		if had, ok := out[k].(map[string]any); ok {
			out[k] = mergeChild(had, m)
		} else {
			out[k] = Merge(m, nil)
		}
	}
	return out
}

// mergeChild keeps that a path without children is itself a member when the
// other side brings children.
func mergeChild(a, b map[string]any) map[string]any {
	if k := "."; (len(a) == 0) != (len(b) == 0) {
		out := Merge(a, b)
		out[k] = map[string]any{}
		return out
	}
	return Merge(a, b)
}
