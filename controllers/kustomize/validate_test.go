// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/controllers/kustomize"
	"github.com/gitops-kit/sdk/runtime/cel"
)

func off(string) bool { return false }

func TestValidateStalls(t *testing.T) { // KUS-12, KUS-13, REF-1
	restricted, err := flags(t, "--restrict-depends-on")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, tc := range map[string]struct {
		change func(*v1.Kustomization)
		reason string
		text   string
	}{
		"account": {func(o *v1.Kustomization) { o.Spec.ServiceAccountName = "x:y" }, "InvalidSpec", "serviceAccountName"},
		"decryption account": {
			func(o *v1.Kustomization) {
				o.Spec.Decryption = &v1.Decryption{Provider: "sops", ServiceAccountName: "a"}
			},
			"FeatureGateDisabled", "to use spec.decryption.serviceAccountName",
		},
		"health expression": {func(o *v1.Kustomization) {
			o.Spec.HealthCheckExprs = []meta.CustomHealthCheck{{APIVersion: "a/v1", HealthCheckExpressions: meta.HealthCheckExpressions{Current: "status."}}}
		}, "InvalidCELExpression", "Reconciliation failed terminally due to configuration error: "},
		"ready expression": {
			func(o *v1.Kustomization) {
				o.Spec.DependsOn = []meta.DependencyReference{{Name: "a", ReadyExpr: "1 + 1"}}
			},
			"InvalidCELExpression", "Reconciliation failed terminally due to configuration error: ",
		},
		"foreign dependency": {
			func(o *v1.Kustomization) {
				o.Spec.DependsOn = []meta.DependencyReference{{Name: "a", Namespace: "other"}}
			},
			"AccessDenied", "can't access 'Kustomization/other/a', cross-namespace references have been blocked",
		},
		"ignore target": {
			func(o *v1.Kustomization) {
				o.Spec.Ignore = []v1.IgnoreRule{{Paths: []string{"/a"}, Target: &meta.Selector{Kind: "("}}}
			},
			"InvalidSpec", "spec.ignore[0].target",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := kustomize.Validate(app(tc.change), off, restricted, cel.New(cel.Options{}))
			var f *kustomize.RunError
			g.Expect(errors.As(err, &f)).To(BeTrue())
			g.Expect(f.Reason()).To(Equal(tc.reason))
			g.Expect(f.Terminal()).To(BeTrue())
			g.Expect(f.Error()).To(ContainSubstring(tc.text))
		})
	}
	NewWithT(t).Expect(kustomize.Validate(app(nil), off, restricted, cel.New(cel.Options{}))).To(Succeed())
}

func dependency(ready string, generation int64, source, applied string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
		"metadata": map[string]any{"name": "base", "namespace": "team", "generation": generation},
		"spec":     map[string]any{"sourceRef": map[string]any{"kind": "GitRepository", "name": source}, "interval": "1m", "prune": true},
		"status": map[string]any{
			"observedGeneration": int64(2), "lastAppliedRevision": applied,
			"conditions": []any{map[string]any{"type": "Ready", "status": ready, "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}},
		},
	}}
}

func TestDependencyReady(t *testing.T) { // KUS-11, KUS-12, KUS-14
	ref := meta.DependencyReference{Name: "base"}
	says := func(v bool, err error) func(context.Context, string, map[string]any, map[string]any) (bool, error) {
		return func(context.Context, string, map[string]any, map[string]any) (bool, error) { return v, err }
	}
	expr := meta.DependencyReference{Name: "base", ReadyExpr: "x"}
	for name, tc := range map[string]struct {
		dep  *unstructured.Unstructured
		ref  meta.DependencyReference
		env  kustomize.Env
		want bool
		why  string
	}{
		"ready, same source":  {dependency("True", 2, "app", "r1"), ref, kustomize.Env{Revision: "r1"}, true, ""},
		"old revision":        {dependency("True", 2, "app", "r0"), ref, kustomize.Env{Revision: "r1"}, false, "dependency 'team/base' revision is not up to date"},
		"other source":        {dependency("True", 2, "other", "r0"), ref, kustomize.Env{Revision: "r1"}, true, ""},
		"not ready":           {dependency("False", 2, "app", "r1"), ref, kustomize.Env{Revision: "r1"}, false, "dependency 'team/base' is not ready"},
		"generation not seen": {dependency("True", 3, "app", "r1"), ref, kustomize.Env{Revision: "r1"}, false, "dependency 'team/base' is not ready"},
		"expression replaces": {dependency("False", 3, "app", "r0"), expr, kustomize.Env{Revision: "r1", Ready: says(true, nil)}, true, ""},
		"expression adds":     {dependency("False", 2, "app", "r1"), expr, kustomize.Env{Revision: "r1", Additive: true, Ready: says(true, nil)}, false, "dependency 'team/base' is not ready"},
		"expression false":    {dependency("True", 2, "app", "r1"), expr, kustomize.Env{Revision: "r1", Ready: says(false, nil)}, false, "dependency 'team/base' is not ready according to readyExpr eval"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ok, why, err := kustomize.DependencyReady(t.Context(), app(nil), tc.dep, tc.ref, tc.env)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(ok).To(Equal(tc.want))
			g.Expect(why).To(Equal(tc.why))
		})
	}
}
