// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

// AccessFrom lists who may refer to an object from another namespace.
type AccessFrom struct {
	// NamespaceSelectors are ORed; an empty list allows nobody.
	// +required
	NamespaceSelectors []NamespaceSelector `json:"namespaceSelectors"`
}

// NamespaceSelector matches namespaces by their labels.
type NamespaceSelector struct {
	// MatchLabels are ANDed; an empty map matches every namespace.
	// +optional
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
}

// Matches reports whether a namespace with these labels is in the list. A nil
// list contains nobody.
func (a *AccessFrom) Matches(labels map[string]string) bool {
	if a == nil {
		return false
	}
	for _, s := range a.NamespaceSelectors {
		if s.Matches(labels) {
			return true
		}
	}
	return false
}

// Matches reports whether all labels of the selector are among labels.
func (s NamespaceSelector) Matches(labels map[string]string) bool {
	for k, want := range s.MatchLabels {
		if got, ok := labels[k]; !ok || got != want {
			return false
		}
	}
	return true
}
