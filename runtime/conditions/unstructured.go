// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package conditions

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ConditionsError reports a status.conditions that is not a list of conditions.
type ConditionsError struct { //nolint:revive // the name is part of the specified surface
	// Err is what decoding said.
	Err error
}

// Error says what is malformed.
func (e *ConditionsError) Error() string {
	return fmt.Sprintf("read status.conditions: %v", e.Err)
}

// Unwrap returns the cause.
func (e *ConditionsError) Unwrap() error { return e.Err }

// Reason returns Failed.
func (e *ConditionsError) Reason() string { return "Failed" }

// Terminal returns false: the status is written by somebody else.
func (e *ConditionsError) Terminal() bool { return false }

// Object is an unstructured object with conditions.
type Object struct {
	*unstructured.Unstructured
	list []metav1.Condition
}

var _ Setter = (*Object)(nil)

// Unstructured reads the conditions of u once. Changes are written to u. A
// malformed list is a [*ConditionsError]; an absent one is empty.
func Unstructured(u *unstructured.Unstructured) (*Object, error) {
	raw, found, err := unstructured.NestedFieldNoCopy(u.Object, "status", "conditions")
	if err != nil {
		return nil, &ConditionsError{Err: err}
	}
	o := &Object{Unstructured: u}
	if !found || raw == nil {
		return o, nil
	}
	data, err := json.Marshal(raw)
	if err != nil {
		return nil, &ConditionsError{Err: err}
	}
	if err := json.Unmarshal(data, &o.list); err != nil {
		return nil, &ConditionsError{Err: err}
	}
	return o, nil
}

// GetConditions returns the conditions.
func (o *Object) GetConditions() []metav1.Condition { return o.list }

// SetConditions replaces the conditions, also in the underlying object. A
// status that is not a map is replaced by one.
func (o *Object) SetConditions(list []metav1.Condition) {
	o.list = list
	raw := make([]any, 0, len(list))
	for _, c := range list {
		m := map[string]any{
			"type": c.Type, "status": string(c.Status), "reason": c.Reason, "message": c.Message,
			"lastTransitionTime": c.LastTransitionTime.UTC().Format("2006-01-02T15:04:05Z07:00"),
		}
		if c.ObservedGeneration != 0 {
			m["observedGeneration"] = c.ObservedGeneration
		}
		raw = append(raw, m)
	}
	if o.Object == nil {
		o.Object = map[string]any{}
	}
	status, ok := o.Object["status"].(map[string]any)
	if !ok {
		status = map[string]any{}
		o.Object["status"] = status
	}
	status["conditions"] = raw
}
