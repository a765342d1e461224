// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// serverFields are set by the server and never part of a payload.
var serverFields = [...]string{"creationTimestamp", "uid", "resourceVersion", "generation", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"} //nolint:gochecknoglobals // a table that nobody changes

// payload turns a copy of a desired object into what is sent.
func (m *Manager) payload(u *unstructured.Unstructured, r Resource) error {
	meta := ensureMap(u.Object, "metadata")
	for _, f := range serverFields {
		delete(meta, f)
	}
	if r.HasStatus {
		delete(u.Object, "status")
	}
	if !r.Namespaced {
		delete(meta, "namespace")
	}
	for _, f := range [...]string{"annotations", "finalizers", "ownerReferences"} {
		if empty(meta[f]) {
			delete(meta, f)
		}
	}
	labels, ok := meta["labels"].(map[string]any)
	if !ok {
		if !empty(meta["labels"]) {
			return fmt.Errorf("%w: metadata.labels is not a map", ErrInvalidObject)
		}
		labels = map[string]any{}
	}
	for k, v := range m.o.Owner.Labels() {
		labels[k] = v
	}
	meta["labels"] = labels
	return normaliseKind(u)
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

func normaliseKind(u *unstructured.Unstructured) error {
	switch u.GroupVersionKind().GroupKind() {
	case schema.GroupKind{Kind: "Secret"}:
		return normaliseSecret(u.Object)
	case schema.GroupKind{Kind: "Service"}:
		defaultProtocol(nestedMap(u.Object, "spec")["ports"])
	case schema.GroupKind{Kind: "Pod"}:
		defaultPodProtocols(nestedMap(u.Object, "spec"))
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}, schema.GroupKind{Group: "apps", Kind: "StatefulSet"},
		schema.GroupKind{Group: "apps", Kind: "DaemonSet"}, schema.GroupKind{Group: "apps", Kind: "ReplicaSet"},
		schema.GroupKind{Kind: "ReplicationController"}, schema.GroupKind{Group: "batch", Kind: "Job"}:
		defaultPodProtocols(nestedMap(u.Object, "spec", "template", "spec"))
	case schema.GroupKind{Group: "batch", Kind: "CronJob"}:
		defaultPodProtocols(nestedMap(u.Object, "spec", "jobTemplate", "spec", "template", "spec"))
	case schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:
		dropBadBundle(nestedMap(u.Object, "spec", "conversion", "webhook", "clientConfig"))
	case schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}:
		if spec := nestedMap(u.Object, "spec"); spec != nil {
			if metrics, ok := spec["metrics"].([]any); ok {
				spec["metrics"] = distinct(metrics)
			}
		}
	case schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:
		// its controller owns the rules of an aggregated role
		if u.Object["aggregationRule"] != nil && empty(u.Object["rules"]) {
			delete(u.Object, "rules")
		}
	}
	return nil
}

// normaliseSecret merges stringData into data and writes base64 canonically.
func normaliseSecret(o map[string]any) error {
	data, _ := o["data"].(map[string]any)
	for k, v := range data {
		s, ok := v.(string)
		if !ok {
			continue // the server names the key without the value
		}
		if b, err := base64.StdEncoding.DecodeString(s); err == nil {
			data[k] = base64.StdEncoding.EncodeToString(b)
		}
	}
	text, present := o["stringData"]
	if !present {
		return nil
	}
	m, ok := text.(map[string]any)
	if !ok && text != nil {
		return fmt.Errorf("%w: stringData is not a map", ErrInvalidObject)
	}
	for k, v := range m {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("%w: stringData.%s is not a string", ErrInvalidObject, k)
		}
		if data == nil {
			data = map[string]any{}
		}
		data[k] = base64.StdEncoding.EncodeToString([]byte(s))
	}
	delete(o, "stringData")
	if data != nil {
		o["data"] = data
	}
	return nil
}

func defaultPodProtocols(spec map[string]any) {
	for _, field := range [...]string{"containers", "initContainers", "ephemeralContainers"} {
		list, _ := spec[field].([]any)
		for _, c := range list {
			if c, ok := c.(map[string]any); ok {
				defaultProtocol(c["ports"])
			}
		}
	}
}

// defaultProtocol fills in the part of a port's key that may be left out.
func defaultProtocol(ports any) {
	list, _ := ports.([]any)
	for _, p := range list {
		if p, ok := p.(map[string]any); ok && p["protocol"] == nil {
			p["protocol"] = "TCP"
		}
	}
}

func dropBadBundle(config map[string]any) {
	s, ok := config["caBundle"].(string)
	if !ok {
		if config != nil {
			delete(config, "caBundle")
		}
		return
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err == nil {
		block, _ := pem.Decode(b)
		if block != nil {
			return
		}
	}
	delete(config, "caBundle")
}

func distinct(list []any) []any {
	out := make([]any, 0, len(list))
next:
	for _, v := range list {
		for _, have := range out {
			if reflect.DeepEqual(have, v) {
				continue next
			}
		}
		out = append(out, v)
	}
	return out
}
