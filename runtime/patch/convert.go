// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"encoding/json"
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// statusOf returns the status of o as JSON values, never nil.
func statusOf(o client.Object) (map[string]any, error) {
	v := reflect.ValueOf(o)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, fmt.Errorf("read status: %T is no object", o)
	}
	var whole any = o
	if f := v.Elem(); f.Kind() == reflect.Struct && f.FieldByName("Status").IsValid() && f.FieldByName("Status").CanAddr() {
		whole = f.FieldByName("Status").Addr().Interface()
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(whole)
		if err != nil {
			return nil, fmt.Errorf("read status: %w", err)
		}
		return m, nil
	}
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(whole)
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	st, ok := m["status"].(map[string]any)
	if !ok {
		return map[string]any{}, nil
	}
	return runtime.DeepCopyJSON(st), nil
}

// setConditions stores list in a status of JSON values.
func setConditions(status map[string]any, list []metav1.Condition) error {
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	var raw []any
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	for _, e := range raw {
		if m, ok := e.(map[string]any); ok {
			if g, ok := m["observedGeneration"].(float64); ok {
				m["observedGeneration"] = int64(g)
			}
		}
	}
	if len(raw) == 0 {
		delete(status, "conditions")
		return nil
	}
	status["conditions"] = raw
	return nil
}

// copyInto makes dst a deep copy of src; both are pointers to the same type.
func copyInto(dst, src client.Object) {
	reflect.ValueOf(dst).Elem().Set(reflect.ValueOf(src.DeepCopyObject()).Elem())
}
