// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// SSA-5, SSA-16, SSA-23, SSA-107, SSA-108, SSA-110
func TestThreeOfTwoHundredInvalid(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	var text strings.Builder
	for i := range 200 {
		switch i {
		case 20:
			fmt.Fprintf(&text, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d, namespace: NS}\ndata: {a: 5}\n", i)
		case 90:
			fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Service\nmetadata: {name: s%d, namespace: NS}\nspec: {ports: [{port: 70000}]}\n", i)
		case 150:
			fmt.Fprintf(&text, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d%d, namespace: NS}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: i}]}}}\n", i)
		default:
			fmt.Fprintf(&text, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d, namespace: NS}\ndata: {a: b}\n", i)
		}
	}
	objects := e.objects(text.String())
	before, err := json.Marshal(objects)
	g.Expect(err).NotTo(HaveOccurred())
	where := map[*unstructured.Unstructured]string{}
	for i, o := range objects {
		where[o] = fmt.Sprintf("all.yaml:%d", i)
	}
	o := ssa.PlanOptions{Provenance: func(u *unstructured.Unstructured) string { return where[u] }}
	p, err := e.m.Plan(t.Context(), objects, o)
	var pe *ssa.PlanError
	g.Expect(errors.As(err, &pe)).To(BeTrue())
	g.Expect(pe.Objects()).To(HaveLen(3))
	g.Expect(p.Entries).To(HaveLen(200))
	byKind := map[string]*ssa.ObjectError{}
	for _, oe := range pe.Objects() {
		byKind[oe.ID.Kind] = oe
		g.Expect(oe.Op).To(Equal(ssa.OpDryRun))
	}
	g.Expect(byKind["Service"].Fields).To(ContainElement("spec.ports[0].port"))
	g.Expect(byKind["Service"].Source).To(Equal("all.yaml:90"))
	g.Expect(byKind["Service"].Error()).To(SatisfyAll(HavePrefix("Service/"+e.ns+"/s90 dry-run failed (Invalid): "), HaveSuffix(" (from all.yaml:90)")))
	g.Expect(byKind["Deployment"].Fields).To(ContainElement("spec.template.metadata.labels"))
	g.Expect(byKind["ConfigMap"].Source).To(Equal("all.yaml:20"))
	planned := 0
	for _, en := range p.Entries {
		if en.Decision == ssa.DecisionCreate {
			planned++
		}
	}
	g.Expect(planned).To(Equal(197))

	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(r.Count(ssa.ActionNotAttempted)).To(Equal(200))
	g.Expect(r.Stopped).NotTo(BeEmpty())
	g.Expect(e.rec.Writes()).To(BeZero())

	r, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{ContinueOnError: true})
	var ae *ssa.ApplyError
	g.Expect(errors.As(err, &ae)).To(BeTrue())
	g.Expect(ae.Objects()).To(HaveLen(3))
	g.Expect(r.Count(ssa.ActionCreated)).To(Equal(197))
	g.Expect(r.Inventory().Len()).To(Equal(197))
	g.Expect(r.Complete()).To(BeFalse())

	after, err := json.Marshal(objects)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(after)).To(Equal(string(before)), "inputs were modified") // SSA-3
}

// SSA-23: kubernetes#113482, one error naming both lists.
func TestDuplicateKeys(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: NS}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers:
      - name: c
        image: i
        ports: [{containerPort: 93}, {containerPort: 93}]
        env: [{name: FOO, value: "1"}, {name: FOO, value: "2"}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: NS}
`)
	p, err := e.m.Plan(t.Context(), objects, ssa.PlanOptions{})
	var pe *ssa.PlanError
	g.Expect(errors.As(err, &pe)).To(BeTrue())
	g.Expect(pe.Objects()).To(HaveLen(1))
	t.Log(pe.Objects()[0].Fields, pe)
	g.Expect(pe.Objects()[0].Fields).To(ConsistOf(ContainSubstring("env"), ContainSubstring("ports")))
	g.Expect(decisions(p)).To(HaveKeyWithValue("ConfigMap/c", "create Absent"))
}

// SSA-11, SSA-109
func TestInvalidInput(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	obj := func(m map[string]any) *unstructured.Unstructured { return &unstructured.Unstructured{Object: m} }
	meta := map[string]any{"name": "a", "namespace": e.ns}
	objects := []*unstructured.Unstructured{
		obj(map[string]any{"kind": "ConfigMap", "metadata": meta}),
		obj(map[string]any{"apiVersion": "v1", "metadata": meta}),
		obj(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"namespace": e.ns}}),
		obj(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"generateName": "x"}}),
		obj(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}),
		obj(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}),
		obj(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "no-namespace"}}),
		obj(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "big", "namespace": e.ns}, "data": map[string]any{"a": strings.Repeat("x", 2<<20)}}),
		nil,
	}
	p, err := e.m.Plan(t.Context(), objects, ssa.PlanOptions{})
	var pe *ssa.PlanError
	g.Expect(errors.As(err, &pe)).To(BeTrue())
	g.Expect(pe.Objects()).To(HaveLen(len(objects)))
	g.Expect(p.Entries).To(HaveLen(len(objects)))
	g.Expect(errors.Is(err, ssa.ErrInvalidObject)).To(BeTrue())
	g.Expect(errors.Is(err, ssa.ErrDuplicateObject)).To(BeTrue())
	g.Expect(errors.Is(err, ssa.ErrLimit)).To(BeTrue())
	g.Expect(pe.Terminal()).To(BeTrue())
	g.Expect(pe.Error()).To(ContainSubstring("namespace not specified"))
	g.Expect(pe.Error()).To(ContainSubstring("object 4 and object 5"))
	g.Expect(e.rec.Count(isDryRun)).To(BeZero())
}

// SSA-7
func TestForeignStaleAndUnapprovedPlans(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	p := e.plan(e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS}\n"), ssa.PlanOptions{})
	other := e.owner
	other.Name = "another"
	_, err := e.manager(ssa.Options{Owner: other}).Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(errors.Is(err, ssa.ErrForeignPlan)).To(BeTrue())
	_, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{MaxPlanAge: 1})
	g.Expect(errors.Is(err, ssa.ErrPlanStale)).To(BeTrue())
	_, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{Digest: "sha256:0"})
	g.Expect(errors.Is(err, ssa.ErrPlanDigest)).To(BeTrue())
	g.Expect(e.rec.Writes()).To(BeZero())
	_, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{Digest: p.Digest})
	g.Expect(err).NotTo(HaveOccurred())
}

// SSA-6
func TestDigestIsStable(t *testing.T) {
	e := newEnv(t, ssa.Options{DigestKey: []byte("k")})
	g := e.g
	objects := e.objects(shop)
	a, b := e.plan(objects, ssa.PlanOptions{}), e.plan(objects, ssa.PlanOptions{})
	g.Expect(a.Digest).To(Equal(b.Digest))
	g.Expect(a.Digest).To(HavePrefix("sha256:"))
	ja, _ := json.Marshal(a)
	jb, _ := json.Marshal(b)
	g.Expect(string(ja)).To(Equal(string(jb)))
	g.Expect(string(ja)).NotTo(ContainSubstring("hunter2"))
	changed := e.objects(strings.ReplaceAll(shop, "hunter2", "hunter3"))
	g.Expect(e.plan(changed, ssa.PlanOptions{}).Digest).NotTo(Equal(a.Digest), "a secret's value must count with a key")
	noKey := e.manager(ssa.Options{})
	x, _ := noKey.Plan(t.Context(), objects, ssa.PlanOptions{})
	y, _ := noKey.Plan(t.Context(), changed, ssa.PlanOptions{})
	g.Expect(x.Digest).To(Equal(y.Digest), "without a key a secret's value must not count")
	more := e.objects(strings.ReplaceAll(shop, `a: "1"`, `a: "7"`))
	z, _ := noKey.Plan(t.Context(), more, ssa.PlanOptions{})
	g.Expect(z.Digest).NotTo(Equal(x.Digest))
}
