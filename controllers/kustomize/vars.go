// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/kustomize"
)

const (
	substitutionAnnotation = "gitops-kit.github.io/substitution"
	alwaysStrategy         = "Always"
)

// variables loads what substituteFrom refers to, in order, then substitute;
// later ones win. It returns nil without spec.postBuild.
func variables(ctx context.Context, read client.Reader, o *v1.Kustomization, lenient bool) (*kustomize.Substitution, error) {
	post := o.Spec.PostBuild
	if post == nil {
		return nil, nil //nolint:nilnil // nothing to substitute
	}
	s := &kustomize.Substitution{
		Vars:    map[string]kustomize.Var{},
		Always:  post.SubstituteStrategy == alwaysStrategy,
		Lenient: lenient,
	}
	if o.Annotations[substitutionAnnotation] == "typed" {
		s.Mode = kustomize.Typed
	}
	for _, ref := range post.SubstituteFrom {
		data, err := referenced(ctx, read, types.NamespacedName{Namespace: o.Namespace, Name: ref.Name}, ref.Kind)
		if apierrors.IsNotFound(err) && ref.Optional {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("substitute from '%s/%s' error: %w", ref.Kind, ref.Name, err)
		}
		maps.Copy(s.Vars, data)
	}
	for k, v := range post.Substitute {
		s.Vars[k] = kustomize.Var{Value: v}
	}
	return s, nil
}

func referenced(ctx context.Context, read client.Reader, name types.NamespacedName, kind string) (map[string]kustomize.Var, error) {
	out := map[string]kustomize.Var{}
	if kind == "Secret" {
		var s corev1.Secret
		if err := read.Get(ctx, name, &s); err != nil {
			return nil, err
		}
		for k, v := range s.Data {
			out[k] = kustomize.Var{Value: string(v), Secret: true}
		}
		return out, nil
	}
	var c corev1.ConfigMap
	if err := read.Get(ctx, name, &c); err != nil {
		return nil, err
	}
	for k, v := range c.Data {
		out[k] = kustomize.Var{Value: v}
	}
	return out, nil
}
