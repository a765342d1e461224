// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"maps"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/reconcile"
)

// watches start a run when a source has a new revision, or when a dependency
// has become ready.
func watches(k reconcile.Kit) []reconcile.Watch {
	out := []reconcile.Watch{
		reconcile.BySourceRevision(&sourcev1.GitRepository{}, sourceOfKind(sourcev1.GitRepositoryKind)),
		reconcile.BySourceRevision(&sourcev1.OCIRepository{}, sourceOfKind(sourcev1.OCIRepositoryKind)),
		reconcile.BySourceRevision(&sourcev1.Bucket{}, sourceOfKind(sourcev1.BucketKind)),
		{Kind: &v1.Kustomization{}, Map: dependenciesOf, When: dependencyChanged},
	}
	if k.Gates.Enabled(externalArtifactGate) {
		out = append(out, reconcile.BySourceRevision(&sourcev1.ExternalArtifact{}, sourceOfKind(sourcev1.ExternalArtifactKind)))
	}
	if !k.Gates.Enabled("DisableConfigWatchers") {
		out = append(out, reconcile.ByReference(references)...)
	}
	return out
}

// references names the Secrets and ConfigMaps whose change starts a run.
func references(o *v1.Kustomization) (secrets, configMaps []types.NamespacedName) {
	if k := o.Spec.KubeConfig; k != nil && k.SecretRef != nil {
		secrets = append(secrets, types.NamespacedName{Name: k.SecretRef.Name})
	}
	if k := o.Spec.KubeConfig; k != nil && k.ConfigMapRef != nil {
		configMaps = append(configMaps, types.NamespacedName{Name: k.ConfigMapRef.Name})
	}
	if d := o.Spec.Decryption; d != nil && d.SecretRef != nil {
		secrets = append(secrets, types.NamespacedName{Name: d.SecretRef.Name})
	}
	if p := o.Spec.PostBuild; p != nil {
		for _, r := range p.SubstituteFrom {
			if r.Kind == "Secret" {
				secrets = append(secrets, types.NamespacedName{Name: r.Name})
			} else {
				configMaps = append(configMaps, types.NamespacedName{Name: r.Name})
			}
		}
	}
	return secrets, configMaps
}

// dependenciesOf names the Kustomizations that own depends on.
func dependenciesOf(own client.Object) []types.NamespacedName {
	o, ok := own.(*v1.Kustomization)
	if !ok {
		return nil
	}
	var out []types.NamespacedName
	for _, d := range o.Spec.DependsOn {
		if dependencyKind(d).Kind == v1.KustomizationKind {
			out = append(out, DependencyName(o, d))
		}
	}
	return out
}

// dependencyChanged reports whether a change of a Kustomization can make those
// that depend on it ready, or end a cycle. A readyExpr may look at labels and
// annotations, too.
func dependencyChanged(old, now client.Object) bool {
	a, _ := old.(*v1.Kustomization)
	b, _ := now.(*v1.Kustomization)
	if a == nil || b == nil {
		return true
	}
	return a.Generation != b.Generation ||
		a.Status.ObservedGeneration != b.Status.ObservedGeneration ||
		a.Status.LastAppliedRevision != b.Status.LastAppliedRevision ||
		conditions.IsTrue(a, meta.ReadyCondition) != conditions.IsTrue(b, meta.ReadyCondition) ||
		!maps.Equal(a.Labels, b.Labels) || !maps.Equal(a.Annotations, b.Annotations)
}
