// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package predicates

import (
	"slices"

	"github.com/gitops-kit/sdk/apis/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// Own returns a predicate for the reconciled kind. It accepts creation,
// deletion of an object that still has the finalizer, a new generation, a
// request token that was added or changed (not one that was removed), a
// deletion timestamp, and a missing finalizer that was there.
func Own(finalizer string) predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return true },
		GenericFunc: func(event.GenericEvent) bool { return true },
		DeleteFunc:  func(event.DeleteEvent) bool { return true },
		UpdateFunc:  func(e event.UpdateEvent) bool { return ownChanged(e.ObjectOld, e.ObjectNew, finalizer) },
	}
}

func ownChanged(old, now client.Object, finalizer string) bool {
	if old == nil || now == nil {
		return false
	}
	if old.GetUID() != now.GetUID() || old.GetGeneration() != now.GetGeneration() {
		return true
	}
	if old.GetDeletionTimestamp().IsZero() != now.GetDeletionTimestamp().IsZero() {
		return true
	}
	return Requested(old, now) || finalizer != "" && slices.Contains(old.GetFinalizers(), finalizer) && !slices.Contains(now.GetFinalizers(), finalizer)
}

// Requested reports whether the request token was added or changed.
func Requested(old, now client.Object) bool {
	before, _ := meta.ReconcileRequested(old.GetAnnotations())
	token, ok := meta.ReconcileRequested(now.GetAnnotations())
	return ok && token != before
}

// artifact is a source.
type artifact interface{ GetArtifact() *meta.Artifact }

// SourceRevision reports whether the artifact's revision of a source changed, or
// whether it got its first artifact. Objects that are no sources never change.
func SourceRevision(old, now client.Object) bool {
	n, ok := now.(artifact)
	if !ok || n.GetArtifact() == nil {
		return false
	}
	o, ok := old.(artifact)
	return !ok || o.GetArtifact() == nil || !o.GetArtifact().HasRevision(n.GetArtifact().Revision)
}
