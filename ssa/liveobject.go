// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"github.com/gitops-kit/sdk/ssa/internal/fieldset"
	"github.com/gitops-kit/sdk/ssa/internal/jsonx"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	opApply  = "Apply"
	opUpdate = "Update"
)

// liveObject is an object as the server has it. managedFields are either in
// u, or aside in managed with their fields as text.
type liveObject struct {
	u       *unstructured.Unstructured
	managed []jsonx.Managed
}

// manager is one element of managedFields.
type manager struct {
	jsonx.Managed
	decoded map[string]any // the fields, when they were decoded already
}

// fields parses the element's field set.
func (m *manager) fields(max int64) (fieldset.Set, error) {
	if m.decoded != nil {
		return fieldset.FromMap(m.decoded)
	}
	if int64(len(m.Fields)) > max {
		return fieldset.Set{}, &LimitError{Name: "fields-v1", Max: max, Got: int64(len(m.Fields))}
	}
	return fieldset.Parse(m.Fields)
}

// tree returns the element's fields in decoded form.
func (m *manager) tree() map[string]any {
	if m.decoded != nil {
		return m.decoded
	}
	var d jsonx.Decoder
	v, _ := d.Value(m.Fields)
	t, _ := v.(map[string]any)
	return t
}

// managers returns the elements of managedFields.
func (l *liveObject) managers() []manager {
	if l.managed != nil {
		out := make([]manager, len(l.managed))
		for i, m := range l.managed {
			out[i].Managed = m
		}
		return out
	}
	list, _ := nestedMap(l.u.Object, "metadata")["managedFields"].([]any)
	out := make([]manager, 0, len(list))
	for _, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			continue
		}
		var x manager
		x.Manager, _ = m["manager"].(string)
		x.Operation, _ = m["operation"].(string)
		x.APIVersion, _ = m["apiVersion"].(string)
		x.Time, _ = m["time"].(string)
		x.Subresource, _ = m["subresource"].(string)
		x.decoded, _ = m["fieldsV1"].(map[string]any)
		if x.decoded == nil {
			x.decoded = map[string]any{}
		}
		out = append(out, x)
	}
	return out
}

// own returns the index of the only Apply element of our manager; -1 when
// there is none or more than one.
func own(managers []manager, fieldManager string) int {
	at := -1
	for i := range managers {
		m := &managers[i]
		if m.Manager == fieldManager && m.Operation == opApply && m.Subresource == "" {
			if at >= 0 {
				return -1
			}
			at = i
		}
	}
	return at
}

// keys collects what managedFields know about the keys of lists.
func (l *liveObject) keys(max int64) keyFinder {
	k := keyFinder{}
	if l == nil {
		return k
	}
	managers := l.managers()
	for i := range managers {
		if s, err := managers[i].fields(max); err == nil {
			k.collect(&s, fieldset.Root, nil)
		}
	}
	return k
}

func (l *liveObject) uid() string { return nestedString(l.u.Object, "metadata", "uid") }
func (l *liveObject) resourceVersion() string {
	return nestedString(l.u.Object, "metadata", "resourceVersion")
}

func (l *liveObject) terminating() bool {
	return nestedString(l.u.Object, "metadata", "deletionTimestamp") != ""
}

// object returns u, or nil for a nil l.
func (l *liveObject) object() *unstructured.Unstructured {
	if l == nil {
		return nil
	}
	return l.u
}
