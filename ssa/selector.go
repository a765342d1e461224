// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Selector maps the key of a label or annotation to a value. An object
// matches when any pair is found in its labels or annotations; values compare
// case-insensitively, an empty value matches nothing. The zero value matches
// nothing.
type Selector map[string]string

// Matches reports whether o matches; nil never does.
func (s Selector) Matches(o *unstructured.Unstructured) bool {
	if len(s) == 0 || o == nil {
		return false
	}
	meta := nestedMap(o.Object, "metadata")
	for _, in := range [...]map[string]any{nestedMap(meta, "labels"), nestedMap(meta, "annotations")} {
		if len(in) == 0 {
			continue
		}
		for k, want := range s {
			if got, ok := in[k].(string); ok && want != "" && strings.EqualFold(got, want) {
				return true
			}
		}
	}
	return false
}

func (s Selector) either(a, b *unstructured.Unstructured) bool { return s.Matches(a) || s.Matches(b) }
