// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/reconcile"
)

const (
	maxDependencyDepth = 64
	helmReleaseKind    = "HelmRelease"
)

// Env is what the readiness of a dependency depends on besides the objects.
type Env struct {
	// Additive evaluates readyExpr in addition to the built-in rule instead of
	// in its place.
	Additive bool
	// Revision is the artifact revision of self's source.
	Revision string
	// Ready evaluates a readyExpr; needed when the dependency has one.
	Ready func(ctx context.Context, expr string, self, dep map[string]any) (bool, error)
}

// DependencyReady decides whether dep, which d names, is ready for self, and
// says why not.
func DependencyReady(ctx context.Context, self *v1.Kustomization, dep *unstructured.Unstructured, d meta.DependencyReference, env Env) (bool, string, error) {
	name := DependencyName(self, d)
	if d.ReadyExpr != "" {
		u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(self)
		if err != nil {
			return false, "", err
		}
		ok, err := env.Ready(ctx, d.ReadyExpr, u, dep.Object)
		if err != nil {
			return false, fmt.Sprintf("dependency '%s' is not ready according to readyExpr eval: %v", name, err), err
		}
		if !ok {
			return false, fmt.Sprintf("dependency '%s' is not ready according to readyExpr eval", name), nil
		}
		if !env.Additive {
			return true, "", nil
		}
	}
	getter, err := conditions.Unstructured(dep)
	if err != nil {
		return false, fmt.Sprintf("dependency '%s' is not ready", name), nil //nolint:nilerr // a broken status is not ready
	}
	observed, _, _ := unstructured.NestedInt64(dep.Object, "status", "observedGeneration")
	if !conditions.IsTrue(getter, meta.ReadyCondition) || observed != dep.GetGeneration() {
		return false, fmt.Sprintf("dependency '%s' is not ready", name), nil
	}
	if dep.GetKind() == v1.KustomizationKind && sameSource(self, dep) {
		applied, _, _ := unstructured.NestedString(dep.Object, "status", "lastAppliedRevision")
		if applied != env.Revision {
			return false, fmt.Sprintf("dependency '%s' revision is not up to date", name), nil
		}
	}
	return true, "", nil
}

// sameSource reports whether the Kustomization dep has self's source.
func sameSource(self *v1.Kustomization, dep *unstructured.Unstructured) bool {
	var other v1.Kustomization
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(dep.Object, &other); err != nil {
		return false
	}
	return other.Spec.SourceRef.Kind == self.Spec.SourceRef.Kind && SourceOf(&other) == SourceOf(self)
}

// DependencyName returns namespace and name of a dependency.
func DependencyName(o *v1.Kustomization, d meta.DependencyReference) types.NamespacedName {
	n := types.NamespacedName{Namespace: d.Namespace, Name: d.Name}
	if n.Namespace == "" {
		n.Namespace = o.Namespace
	}
	return n
}

func dependencyKind(d meta.DependencyReference) schema.GroupVersionKind {
	if d.Kind == helmReleaseKind {
		return schema.GroupVersionKind{Group: "helm.toolkit.fluxcd.io", Version: "v2", Kind: helmReleaseKind}
	}
	return v1.GroupVersion.WithKind(v1.KustomizationKind)
}

// dependencies checks every entry of spec.dependsOn, reading live state.
func (x *run) dependencies(ctx context.Context, o *v1.Kustomization) (next reconcile.Result, err error) {
	if len(o.Spec.DependsOn) == 0 {
		return next, nil
	}
	if cycle, err := x.dependencyCycle(ctx, o); err != nil {
		return next, err
	} else if cycle != "" {
		return next, stalled(meta.DependencyCycleReason, nil, "dependency cycle: %s; remove one of these from spec.dependsOn", cycle)
	}
	env := Env{
		Additive: x.Gates.Enabled("AdditiveCELDependencyCheck"),
		Revision: x.source.Revision,
		Ready:    ready(x.expressions),
	}
	for _, d := range o.Spec.DependsOn {
		name := DependencyName(o, d)
		dep := &unstructured.Unstructured{}
		dep.SetGroupVersionKind(dependencyKind(d))
		err := x.APIReader.Get(ctx, name, dep)
		switch {
		case apierrors.IsNotFound(err):
			return next, waiting(meta.DependencyNotReadyReason, "dependency '%s' not found: %v", name, err)
		case err != nil:
			return next, err
		}
		ok, why, err := DependencyReady(ctx, o, dep, d, env)
		if terminal(err) {
			return next, stalled(meta.InvalidCELExpressionReason, err, "Reconciliation failed terminally due to configuration error: %v", err)
		}
		if !ok {
			return next, waiting(meta.DependencyNotReadyReason, "%s", why)
		}
	}
	return next, nil
}

// dependencyCycle follows dependsOn over Kustomizations and describes the way
// back to o.
func (x *run) dependencyCycle(ctx context.Context, o *v1.Kustomization) (string, error) {
	type node struct {
		name  types.NamespacedName
		trail string
		depth int
	}
	self := client.ObjectKeyFromObject(o)
	seen := map[types.NamespacedName]bool{}
	var todo []node
	push := func(of *v1.Kustomization, trail string, depth int) {
		for _, d := range of.Spec.DependsOn {
			if d.Kind == "" || d.Kind == v1.KustomizationKind {
				todo = append(todo, node{DependencyName(of, d), trail, depth})
			}
		}
	}
	push(o, self.String(), 1)
	for len(todo) > 0 {
		n := todo[0]
		todo = todo[1:]
		trail := n.trail + " → " + n.name.String()
		if n.name == self {
			return trail, nil
		}
		if seen[n.name] || n.depth >= maxDependencyDepth {
			continue
		}
		seen[n.name] = true
		var dep v1.Kustomization
		err := x.Client.Get(ctx, n.name, &dep)
		if client.IgnoreNotFound(err) != nil {
			return "", err
		}
		push(&dep, trail, n.depth+1)
	}
	return "", nil
}
