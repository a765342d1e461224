// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package conditions

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConflictError reports a condition that was changed on both sides.
type ConflictError struct {
	// Type of the condition.
	Type string
	// Op is what we did to it: "set" or "delete".
	Op string
}

// Error names the condition.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("merge conditions: %s of %q conflicts with another writer", e.Op, e.Type)
}

// Reason returns Failed.
func (e *ConflictError) Reason() string { return "Failed" }

// Terminal returns false: the next run starts from the other writer's state.
func (e *ConflictError) Terminal() bool { return false }

// Merge applies our changes of base to theirs. A condition that only one side
// changed is taken from that side; one that both changed is ours when its type
// is in owned, theirs when both agree, else a [*ConflictError]. A removal is a
// change. A state that equals theirs keeps their transition time. The result
// is a new list in the documented order.
func Merge(base, ours, theirs []metav1.Condition, owned []string) ([]metav1.Condition, error) {
	out := slices.Clone(theirs)
	for _, typ := range types(base, ours) {
		b, o, t := find(base, typ), find(ours, typ), find(theirs, typ)
		if equal(b, o) || equal(o, t) {
			if o != nil && t != nil {
				out = put(out, newer(*t, *o))
			}
			continue
		}
		if !equal(b, t) && !slices.Contains(owned, typ) {
			op := "set"
			if o == nil {
				op = "delete"
			}
			return nil, &ConflictError{Type: typ, Op: op}
		}
		if o == nil {
			out = slices.DeleteFunc(out, func(c metav1.Condition) bool { return c.Type == typ })
		} else {
			out = put(out, *o)
		}
	}
	Sort(out)
	return out, nil
}

// newer is theirs with the greater observed generation of the two.
func newer(theirs, ours metav1.Condition) metav1.Condition {
	theirs.ObservedGeneration = max(theirs.ObservedGeneration, ours.ObservedGeneration)
	return theirs
}

func types(lists ...[]metav1.Condition) []string {
	var out []string
	for _, l := range lists {
		for _, c := range l {
			if !slices.Contains(out, c.Type) {
				out = append(out, c.Type)
			}
		}
	}
	return out
}

func find(list []metav1.Condition, typ string) *metav1.Condition {
	for i := range list {
		if list[i].Type == typ {
			return &list[i]
		}
	}
	return nil
}

func equal(a, b *metav1.Condition) bool {
	if a == nil || b == nil {
		return a == b
	}
	return sameState(*a, *b)
}

func put(list []metav1.Condition, c metav1.Condition) []metav1.Condition {
	if e := find(list, c.Type); e != nil {
		*e = c
		return list
	}
	return append(list, c)
}
