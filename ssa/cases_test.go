// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// SSA-10 (flux2#2472, helm-controller#1419): the rules of an aggregated role
// belong to its controller.
func TestAggregatedRole(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NS-sum}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {sum: NS}}]}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NS-part, labels: {sum: NS}}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
`)
	t.Cleanup(func() { e.cleanup(objects) })
	e.apply(objects, ssa.PlanOptions{})
	rules := func() []any {
		r, _, _ := unstructured.NestedSlice(e.live(objects[0]).Object, "rules")
		return r
	}
	g.Eventually(rules, "90s").Should(HaveLen(1))
	rv := e.live(objects[0]).GetResourceVersion()
	for range 3 {
		p := e.plan(objects, ssa.PlanOptions{VerifyEvery: 1})
		g.Expect(decisions(p)).To(HaveKeyWithValue("ClusterRole/"+e.ns+"-sum", "unchanged Verified"))
		_, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(decisions(e.plan(objects, ssa.PlanOptions{}))).To(HaveKeyWithValue("ClusterRole/"+e.ns+"-sum", "unchanged Proved"))
		g.Expect(rules()).To(HaveLen(1))
	}
	g.Expect(e.live(objects[0]).GetResourceVersion()).To(Equal(rv))
}

// SSA-34 (argo-cd#21135): quantities are compared as the server writes them,
// in built-in kinds only. Nothing is asked about an object that did not change:
// a custom resource is proved when it spells out the keys of its lists. With a
// key left to a default it cannot be proved (the value might be somebody
// else's, see ADR 50); then the apply, or one dry-run, is remembered.
func TestQuantities(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{Memo: ssa.NewMemo(ssa.MemoOptions{})})
	g := e.g
	group := e.ns + ".example.com"
	definition := e.objects(crd(group, widgetSchema))
	e.apply(definition, ssa.PlanOptions{})
	t.Cleanup(func() { e.cleanup(definition) })
	var objects []*unstructured.Unstructured
	for _, u := range e.objects(strings.ReplaceAll(mutationKinds, "GROUP", group) + "---\napiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: plain, namespace: NS}\nspec: {quota: 12000m, keyed: [{id: x, proto: TCP}]}\n") {
		if u.GetKind() == "StatefulSet" || u.GetKind() == "Widget" {
			objects = append(objects, u)
		}
	}
	e.apply(objects, ssa.PlanOptions{})
	p := e.plan(objects, ssa.PlanOptions{})
	g.Expect(decisions(p)).To(Equal(map[string]string{"StatefulSet/sts": "unchanged Proved", "Widget/plain": "unchanged Proved", "Widget/widget": "unchanged Remembered"}))
	g.Expect(p.Requests).To(Equal(ssa.Requests{List: 2}))
	// A process that has just started asks about the last one, once.
	fresh := e.manager(ssa.Options{Memo: ssa.NewMemo(ssa.MemoOptions{})})
	for _, dryRuns := range []int{1, 0} {
		p, err := fresh.Plan(t.Context(), objects, ssa.PlanOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(p.Requests).To(Equal(ssa.Requests{List: 2, DryRun: dryRuns}))
		g.Expect(decisions(p)).To(HaveKeyWithValue("Widget/plain", "unchanged Proved"))
	}
	c, _, _ := unstructured.NestedSlice(e.live(objects[1]).Object, "spec", "template", "spec", "containers")
	if len(c) == 0 {
		c, _, _ = unstructured.NestedSlice(e.live(objects[0]).Object, "spec", "template", "spec", "containers")
	}
	requests, _, _ := unstructured.NestedStringMap(c[0].(map[string]any), "resources", "requests")
	g.Expect(requests).To(Equal(map[string]string{"cpu": "500m", "memory": "1G", "ephemeral-storage": "1Gi"}))
	for _, u := range objects {
		if u.GetKind() == "Widget" {
			_ = unstructured.SetNestedField(u.Object, "12", "spec", "quota")
			continue
		}
		c, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
		_ = unstructured.SetNestedField(c[0].(map[string]any), "0.6", "resources", "requests", "cpu")
		_ = unstructured.SetNestedSlice(u.Object, c, "spec", "template", "spec", "containers")
	}
	p = e.plan(objects, ssa.PlanOptions{})
	for _, en := range p.Entries {
		g.Expect(en.Decision).To(Equal(ssa.DecisionUpdate))
		g.Expect(en.Changes).To(HaveLen(1))
	}
}

// SSA-31, SSA-38, SSA-39: what cannot be proved is asked once, then remembered,
// until something about it changes.
func TestMemo(t *testing.T) {
	memo := ssa.NewMemo(ssa.MemoOptions{})
	e := newEnv(t, ssa.Options{Memo: memo})
	g := e.g
	// An atomic value into which the server writes defaults.
	objects := e.objects(`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: d, namespace: NS}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      nodeSelector: {none: such}
      containers: [{name: c, image: "example.com/c:1", env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]
      volumes: [{name: v, projected: {sources: [{configMap: {name: x}}]}}]
`)
	e.apply(objects, ssa.PlanOptions{})
	p := e.plan(objects, ssa.PlanOptions{})
	if p.Entries[0].Why == ssa.WhyVerified { // else the apply itself was remembered
		g.Expect(p.Requests.DryRun).To(Equal(1))
	}
	g.Eventually(func() string { return decisions(e.plan(objects, ssa.PlanOptions{}))["DaemonSet/d"] }).Should(Equal("unchanged Remembered"))
	g.Expect(memo.Len()).To(Equal(1))
	p = e.plan(objects, ssa.PlanOptions{})
	g.Expect(p.Requests).To(Equal(ssa.Requests{List: 1}))
	g.Expect(p.Entries[0].Unproved).To(BeEmpty())
	e.patch("x", objects[0], `[{"op":"add","path":"/metadata/labels/x","value":"y"}]`)
	p = e.plan(objects, ssa.PlanOptions{})
	g.Expect(p.Entries[0].Why).To(Equal(ssa.WhyVerified))
	p = e.plan(objects, ssa.PlanOptions{Verify: func(ssa.ID) bool { return true }})
	g.Expect(p.Entries[0].Why).To(Equal(ssa.WhyVerified))
	small := ssa.NewMemo(ssa.MemoOptions{Entries: 1})
	m := e.manager(ssa.Options{Memo: small})
	_, err := m.Plan(t.Context(), append(objects, e.objects(shop)...), ssa.PlanOptions{VerifyEvery: 1})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(small.Len()).To(Equal(1))
}

// SSA-41, SSA-42: when everything is asked about again.
func TestVerificationPasses(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(configMaps(e.ns, 2))
	e.apply(objects, ssa.PlanOptions{})
	v := ssa.Verification{}
	full := 0
	for range 40 {
		p := e.plan(objects, ssa.PlanOptions{Verified: v, VerifyEvery: 4})
		if p.Requests.DryRun > 0 {
			g.Expect(p.Requests.DryRun).To(Equal(2))
			full++
		}
		v = p.Verified
		g.Expect(v.Blind).To(BeTrue(), "without an Environment")
	}
	g.Expect(full).To(BeNumerically("~", 10, 1))
	old := v
	old.At = old.At.AddDate(0, 0, -1)
	old.Pass = 0
	g.Expect(e.plan(objects, ssa.PlanOptions{Verified: old}).Requests.DryRun).To(Equal(2))
	other := v
	other.Version, other.Pass = "0", 0
	g.Expect(e.plan(objects, ssa.PlanOptions{Verified: other}).Requests.DryRun).To(Equal(2))
	_, err := e.m.Plan(t.Context(), objects, ssa.PlanOptions{VerifyEvery: -1})
	g.Expect(err).To(HaveOccurred())
}
