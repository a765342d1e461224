// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package proof

import "k8s.io/apimachinery/pkg/api/resource"

// sameQuantity reports whether the server stores the quantity p as l.
func sameQuantity(p, l string) bool {
	if len(p) == 0 || len(p) > 64 {
		return false
	}
	q, err := resource.ParseQuantity(p)
	return err == nil && q.String() == l
}

// BuiltinQuantity reports whether a value in an object of a built-in kind is
// a quantity, by the names of its parents, innermost last ("" for an item of
// a list).
func BuiltinQuantity(kind string, names []string) bool {
	n := len(names)
	at := func(back int) string {
		if n < back {
			return ""
		}
		return names[n-back]
	}
	if kind == "ControllerRevision" {
		return false // its data has any form
	}
	if at(1) == "sizeLimit" {
		return at(2) == "emptyDir"
	}
	switch at(2) {
	case "limits", "requests":
		return at(3) == "resources"
	case "capacity":
		return at(3) == "spec"
	case "hard":
		return at(3) == "spec"
	case "max", "min", "default", "defaultRequest", "maxLimitRequestRatio":
		return kind == "LimitRange"
	}
	return false
}
