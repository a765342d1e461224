// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"slices"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// SSA-40, SSA-41, D3: a changed definition, webhook configuration or policy
// has exactly the objects of its kind asked about again.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, err := ssa.NewCluster(config(t), ssa.ClusterOptions{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	watcher := ssa.WatchEnvironment(ctx, c)
	e := newEnv(t, ssa.Options{Env: watcher})
	g := e.g
	g.Eventually(watcher.Synced(), "90s").Should(BeClosed())
	group := e.ns + ".example.com"
	definition := e.objects(crd(group, widgetSchema))
	objects := append(slices.Clone(definition), e.objects("apiVersion: "+group+"/v1\nkind: Widget\nmetadata: {name: w, namespace: NS}\nspec: {num: 1}\n---\napiVersion: v1\nkind: LimitRange\nmetadata: {name: c, namespace: NS}\nspec: {limits: [{type: Pod, max: {cpu: \"1\"}}]}\n")...)
	t.Cleanup(func() { e.cleanup(definition) })
	e.apply(objects, ssa.PlanOptions{})
	widgets := schema.GroupVersionResource{Group: group, Version: "v1", Resource: "widgets"}
	limits := schema.GroupVersionResource{Version: "v1", Resource: "limitranges"}
	token := func(r schema.GroupVersionResource) ssa.Token {
		tk, err := watcher.Token(t.Context(), r)
		g.Expect(err).NotTo(HaveOccurred())
		return tk
	}
	g.Eventually(func() string { return token(widgets).Schema }).ShouldNot(BeEmpty())
	g.Expect(token(limits).Schema).To(HavePrefix("v1."))

	objects = objects[1:] // the definition changes behind the set's back
	v := e.plan(objects, ssa.PlanOptions{}).Verified
	v = e.plan(objects, ssa.PlanOptions{Verified: v, VerifyEvery: 1 << 20}).Verified
	g.Expect(v.Blind).To(BeFalse())
	asked := func() map[string]bool {
		e.rec.Reset()
		p := e.plan(objects, ssa.PlanOptions{Verified: v, VerifyEvery: 1 << 20})
		v = p.Verified
		out := map[string]bool{}
		for _, call := range e.rec.Calls() {
			if call.DryRun {
				out[call.Kind] = true
			}
		}
		return out
	}
	g.Expect(asked()).To(BeEmpty())

	// The definition gets another schema.
	before := token(widgets)
	e.patch("x", definition[0], `[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/extra","value":{"type":"string"}}]`)
	g.Eventually(func() bool { return token(widgets).Schema != before.Schema }).Should(BeTrue())
	g.Expect(asked()).To(HaveKey("Widget"))
	g.Expect(asked()).NotTo(HaveKey("LimitRange"))

	// A webhook for LimitRanges, which no other test has, of no namespace that exists.
	hook := e.objects(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: NS}
webhooks:
- name: a.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  namespaceSelector: {matchLabels: {none: such}}
  clientConfig: {url: "https://127.0.0.1:1/"}
  rules: [{apiGroups: [""], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: [limitranges]}]
`)[0]
	before, other := token(limits), token(widgets)
	e.createAs("x", hook)
	t.Cleanup(func() { e.cleanup([]*unstructured.Unstructured{hook}) })
	g.Eventually(func() bool { return token(limits).Admission != before.Admission }).Should(BeTrue())
	g.Expect(token(widgets).Admission).To(Equal(other.Admission))
	got := asked()
	g.Expect(got).To(HaveKey("LimitRange"))
	g.Expect(got).NotTo(HaveKey("Widget"))
	before = token(limits)
	e.patch("x", hook, `[{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="}]`)
	e.patch("x", hook, `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`)
	g.Eventually(func() bool { return token(limits).Admission != before.Admission }).Should(BeTrue())
}

// SSA-40: an identity that may not read the configuration is blind.
func TestEnvironmentForbidden(t *testing.T) {
	g := NewWithT(t)
	c, err := ssa.NewCluster(server(t).User(t, "nobody"), ssa.ClusterOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	w := ssa.WatchEnvironment(t.Context(), c)
	g.Eventually(w.Synced(), "90s").Should(BeClosed())
	tk, err := w.Token(t.Context(), schema.GroupVersionResource{Version: "v1", Resource: "configmaps"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(tk.Admission).To(BeEmpty())
}
