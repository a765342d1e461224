// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/queue"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// applied is an object that tells which revision it has applied.
type applied interface{ AppliedRevision() string }

// ByDependency runs objects when one they depend on changes its Ready status,
// its observed generation, or its applied revision (method AppliedRevision()
// string), or is created or deleted. deps names the dependencies of that kind.
func ByDependency[T Object](kind Object, deps func(T) []types.NamespacedName) Watch {
	return Watch{Kind: kind, Class: queue.Routine, Map: mapOf(deps), When: dependencyChanged}
}

// mapOf gives references without a namespace that of the object.
func mapOf[T Object](refs func(T) []types.NamespacedName) func(ctrlclient.Object) []types.NamespacedName {
	return func(own ctrlclient.Object) []types.NamespacedName {
		o, ok := own.(T)
		if !ok {
			return nil
		}
		list := refs(o)
		for i := range list {
			if list[i].Namespace == "" {
				list[i].Namespace = own.GetNamespace()
			}
		}
		return list
	}
}

func dependencyChanged(old, now ctrlclient.Object) bool {
	if old == nil || now == nil {
		return true
	}
	a, ok1 := old.(Object)
	b, ok2 := now.(Object)
	if !ok1 || !ok2 {
		return true
	}
	if conditions.IsReady(a) != conditions.IsReady(b) {
		return true
	}
	x, y := observedField(a), observedField(b)
	if x != nil && y != nil && *x != *y {
		return true
	}
	r, ok1 := old.(applied)
	s, ok2 := now.(applied)
	return ok1 && ok2 && r.AppliedRevision() != s.AppliedRevision()
}

// ByReference runs objects when a Secret or ConfigMap they refer to changes.
// Only metadata is kept in memory, and only of the objects that the selector of
// --watch-configs-label-selector matches. refs returns the names of Secrets and
// of ConfigMaps. The result has one watch for each of the two kinds.
func ByReference[T Object](refs func(T) (secrets, configMaps []types.NamespacedName)) []Watch {
	kind := func(name string) ctrlclient.Object {
		o := &metav1.PartialObjectMetadata{}
		o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(name))
		return o
	}
	return []Watch{
		{Kind: kind("Secret"), Map: mapOf(func(o T) []types.NamespacedName { s, _ := refs(o); return s }), When: dataChanged},
		{Kind: kind("ConfigMap"), Map: mapOf(func(o T) []types.NamespacedName { _, c := refs(o); return c }), When: dataChanged},
	}
}

// dataChanged accepts every new version: of an object without managed fields
// only its data, labels and annotations can have changed.
func dataChanged(old, now ctrlclient.Object) bool {
	return old == nil || now == nil || old.GetResourceVersion() != now.GetResourceVersion()
}
