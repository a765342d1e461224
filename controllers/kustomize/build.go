// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/kustomize"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/ssa"
)

const strictSubstitution = "StrictPostBuildSubstitutions"

// build renders the objects. The artifact is given back right after.
func (x *run) build(ctx context.Context, o *v1.Kustomization) (next reconcile.Result, err error) {
	reconcile.Progress(ctx, "Building manifests for revision %s with a timeout of %s", x.source.Revision, o.GetTimeout())
	opts := BuildOptions(o, x.tree.Root().FS())
	opts.Limits = x.flags.buildLimits()
	read, err := x.references(ctx, o)
	if err != nil {
		return next, err
	}
	if opts.Substitute, err = variables(ctx, read, o, !x.Gates.Enabled(strictSubstitution)); err != nil {
		return next, failed(meta.BuildFailedReason, err, "post build failed: %v; check spec.postBuild.substituteFrom", err)
	}
	err = x.render(ctx, o, opts)
	x.close()
	if err != nil {
		return next, err
	}
	return next, encrypted(x.objects)
}

// render builds, unless nothing changed that the last build has read.
func (x *run) render(ctx context.Context, o *v1.Kustomization, opts kustomize.Options) error {
	if last := x.results.get(o.UID); last != nil {
		if same, err := x.builder.Unchanged(ctx, opts, last.built); err == nil && same {
			x.built, x.objects, x.digest = last.built, last.built.Unstructured(), last.digest
			return nil
		}
	}
	var err error
	if x.built, err = x.builder.Build(ctx, opts); err != nil {
		x.results.drop(o.UID)
		return buildFailure(err)
	}
	x.objects = x.built.Unstructured()
	var size int64
	if x.digest, size, err = digestOf(x.objects); err != nil {
		return err
	}
	x.results.put(&result{uid: o.UID, built: x.built, digest: x.digest, bytes: size})
	return nil
}

// buildFailure words a build error; the engine says file and line.
func buildFailure(err error) error {
	var v *kustomize.VariableError
	switch {
	case errors.As(err, &v):
		return failed(meta.BuildFailedReason, err, "post build failed: %v", err)
	case errors.Is(err, kustomize.ErrRemote):
		return failed(meta.BuildFailedReason, err, "kustomize build failed: %v; copy the base into the repository, remote bases are off", err)
	}
	return failed(meta.BuildFailedReason, err, "kustomize build failed: %v", err)
}

// encrypted finds a Secret that nothing has decrypted.
func encrypted(objects []*unstructured.Unstructured) error {
	for _, u := range objects {
		if _, ok := u.Object["sops"]; ok && u.GetKind() == "Secret" && u.GroupVersionKind().Group == "" {
			return failed(meta.ReconciliationFailedReason, nil,
				"%s is SOPS encrypted, configuring decryption is required for this secret to be reconciled", ssa.IDOf(u).Display())
		}
	}
	return nil
}

// digestOf identifies what was built, in build order, and tells its size.
func digestOf(objects []*unstructured.Unstructured) (digest string, size int64, err error) {
	h := sha256.New()
	for _, u := range objects {
		b, err := u.MarshalJSON()
		if err != nil {
			return "", 0, fmt.Errorf("encode %s: %w", ssa.IDOf(u).Display(), err)
		}
		h.Write(b)
		size += int64(len(b))
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), size, nil
}

func regexpQuote(s string) string { return regexp.QuoteMeta(s) }
