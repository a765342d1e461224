// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/fetch"
	"github.com/gitops-kit/sdk/runtime/acl"
	"github.com/gitops-kit/sdk/runtime/reconcile"
)

const (
	originKey            = "org.opencontainers.image.revision"
	externalArtifactGate = "ExternalArtifact"
)

// source is what the controller reads of every source kind.
type source interface {
	client.Object
	GetArtifact() *meta.Artifact
}

// newSource returns an empty object of a source kind, nil for unknown ones.
func newSource(kind string) source {
	switch kind {
	case sourcev1.GitRepositoryKind:
		return &sourcev1.GitRepository{}
	case sourcev1.OCIRepositoryKind:
		return &sourcev1.OCIRepository{}
	case sourcev1.BucketKind:
		return &sourcev1.Bucket{}
	case sourcev1.ExternalArtifactKind:
		return &sourcev1.ExternalArtifact{}
	}
	return nil
}

// findSource reads the source and its artifact.
func (x *run) findSource(ctx context.Context, o *v1.Kustomization) (next reconcile.Result, err error) {
	ref := SourceOf(o)
	src := newSource(o.Spec.SourceRef.Kind)
	if src == nil {
		return next, stalled(meta.InvalidSpecReason, nil, "spec.sourceRef.kind '%s' is not served by this installation", o.Spec.SourceRef.Kind)
	}
	name := fmt.Sprintf("%s/%s", o.Spec.SourceRef.Kind, ref)
	if err := x.ACL.Blocked(o.Namespace, referenceTo(o)); err != nil {
		return next, stalled(meta.AccessDeniedReason, err, "%v", err)
	}
	err = x.Client.Get(ctx, ref, src)
	if client.IgnoreNotFound(err) != nil {
		return next, failed(meta.ArtifactFailedReason, err, "read source '%s': %v", name, err)
	}
	if aerr := x.allowed(ctx, o, src, err == nil); aerr != nil {
		return next, aerr
	}
	if apierrors.IsNotFound(err) {
		return next, failed(meta.ArtifactFailedReason, err, "%v; create it, or check spec.sourceRef", err)
	}
	if x.source = src.GetArtifact(); x.source == nil {
		return next, waiting(meta.ArtifactFailedReason, "Source is not ready, artifact not found, retrying in %s", x.Config.RequeueDependency)
	}
	x.origin = x.source.Metadata[originKey]
	return next, nil
}

// sourceRevision is the revision a health check belongs to: when it changes,
// the check may be cut short.
func (r *Reconciler) sourceRevision(o *v1.Kustomization) string {
	src := newSource(o.Spec.SourceRef.Kind)
	if src == nil || r.Client.Get(context.Background(), SourceOf(o), src) != nil || src.GetArtifact() == nil { //nolint:forbidigo // from the cache
		return ""
	}
	return src.GetArtifact().Revision
}

// allowed checks a reference: first the flag against other namespaces, then
// the gate of the kind, then the source's own list.
func (x *run) allowed(ctx context.Context, o *v1.Kustomization, src source, found bool) error {
	to := referenceTo(o)
	gated := to.Kind == sourcev1.ExternalArtifactKind && !x.Gates.Enabled(externalArtifactGate)
	var list *meta.AccessFrom
	switch {
	case gated:
		list = &meta.AccessFrom{NamespaceSelectors: []meta.NamespaceSelector{{}}}
	case found:
		list = accessFrom(src)
	}
	err := x.ACL.Check(ctx, o.Namespace, to, list)
	switch {
	case err == nil && gated:
		return stalled(meta.AccessDeniedReason, nil, "can't access '%s/%s/%s', ExternalArtifact feature gate is disabled", to.Kind, to.Namespace, to.Name)
	case err == nil:
		return nil
	case errors.Is(err, acl.ErrDenied):
		return stalled(meta.AccessDeniedReason, err, "%v", err)
	}
	return failed(meta.ReconciliationFailedReason, err, "%v", err)
}

// referenceTo names the source for the checker.
func referenceTo(o *v1.Kustomization) meta.NamespacedObjectKindReference {
	n := SourceOf(o)
	return meta.NamespacedObjectKindReference{Kind: o.Spec.SourceRef.Kind, Namespace: n.Namespace, Name: n.Name}
}

// accessFrom returns the list of namespaces a source admits.
func accessFrom(src source) *meta.AccessFrom {
	switch s := src.(type) {
	case *sourcev1.GitRepository:
		return s.Spec.AccessFrom
	case *sourcev1.OCIRepository:
		return s.Spec.AccessFrom
	case *sourcev1.Bucket:
		return s.Spec.AccessFrom
	case *sourcev1.ExternalArtifact:
		return s.Spec.AccessFrom
	}
	return nil
}

// SourceOf returns namespace and name of the source.
func SourceOf(o *v1.Kustomization) types.NamespacedName {
	n := types.NamespacedName{Namespace: o.Spec.SourceRef.Namespace, Name: o.Spec.SourceRef.Name}
	if n.Namespace == "" {
		n.Namespace = o.Namespace
	}
	return n
}

// sourceOfKind returns SourceOf for objects whose source has the kind, and
// nothing for others: what a watch of that kind indexes by.
func sourceOfKind(kind string) func(*v1.Kustomization) types.NamespacedName {
	return func(o *v1.Kustomization) types.NamespacedName {
		if o.Spec.SourceRef.Kind != kind {
			return types.NamespacedName{}
		}
		return SourceOf(o)
	}
}

// fetch downloads and verifies the artifact, once per digest and process.
func (x *run) fetch(ctx context.Context, o *v1.Kustomization) (next reconcile.Result, err error) {
	reconcile.Progress(ctx, "Fetching manifests for revision %s with a timeout of %s", x.source.Revision, o.GetTimeout())
	x.tree, err = x.artifacts.Tree(ctx, artifact.RefOf(x.source))
	switch {
	case errors.Is(err, fetch.ErrNotFound):
		return next, waiting(meta.ArtifactFailedReason, "Source artifact not found, retrying in %s", x.Config.RequeueDependency)
	case err != nil:
		return next, failed(meta.ArtifactFailedReason, err, "%v", err)
	}
	dir := PathOf(o)
	info, err := fs.Stat(x.tree.Root().FS(), dir)
	switch {
	case err != nil && errors.Is(err, fs.ErrNotExist):
		return next, failed(meta.ArtifactFailedReason, err, "kustomization path not found: %s is not in revision %s; check spec.path", o.Spec.Path, x.source.Revision)
	case err != nil:
		return next, failed(meta.ArtifactFailedReason, err, "kustomization path not found: %s cannot be used: %v; check spec.path", o.Spec.Path, err)
	case !info.IsDir():
		return next, failed(meta.ArtifactFailedReason, nil, "kustomization path not found: %s is not a directory in revision %s; check spec.path", o.Spec.Path, x.source.Revision)
	}
	return next, nil
}

// PathOf returns spec.path as a clean path below the artifact's root. A path
// that climbs out stays inside, as a browser would read it.
func PathOf(o *v1.Kustomization) string {
	p := strings.TrimPrefix(path.Clean("/"+o.Spec.Path), "/")
	if p == "" {
		return "."
	}
	return p
}
