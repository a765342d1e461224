// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func configMaps(ns string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%04d, namespace: %s}\ndata: {a: \"1\"}\n", i, ns)
	}
	return b.String()
}

// SSA-28, SSA-29, SSA-44, SSA-100: what each plan asks of the server, counted
// on the wire.
func TestRequestBudget(t *testing.T) {
	t.Parallel()
	sizes := []int{1, 501}
	if long() {
		sizes = append(sizes, 499, 500, 10_000)
	}
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			e := newEnv(t, ssa.Options{})
			g := e.g
			var mu sync.Mutex
			wire := map[string]int{}
			c, err := ssa.NewCluster(config(t), ssa.ClusterOptions{Observe: func(r ssa.RequestInfo) {
				mu.Lock()
				defer mu.Unlock()
				v := r.Verb
				if r.DryRun {
					v = "dry-run"
				}
				if r.Metadata {
					v = "metadata"
				}
				wire[v]++
			}})
			g.Expect(err).NotTo(HaveOccurred())
			m, err := ssa.NewManager(c, ssa.Options{Owner: e.owner})
			g.Expect(err).NotTo(HaveOccurred())
			pages := (n + 499) / 500
			take := func() map[string]int {
				mu.Lock()
				defer mu.Unlock()
				out := wire
				wire = map[string]int{}
				delete(out, "discovery")
				return out
			}
			objects := e.objects(configMaps(e.ns, n))
			p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			want := map[string]int{"list": 1, "dry-run": n}
			if n <= 16 {
				want["get"] = n
			} else {
				want["metadata"] = 1
			}
			g.Expect(take()).To(Equal(want), "first plan")
			r, err := m.Apply(t.Context(), p, ssa.ApplyOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(take()).To(Equal(map[string]int{"apply": n}), "apply")
			p, err = m.Plan(t.Context(), objects, ssa.PlanOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(take()).To(Equal(map[string]int{"list": pages}), "nothing changed")
			g.Expect(p.Requests).To(Equal(ssa.Requests{List: 1, Pages: pages - 1}))
			r2, err := m.Apply(t.Context(), p, ssa.ApplyOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(take()).To(BeEmpty(), "apply of nothing")
			g.Expect(r2.Count(ssa.ActionUnchanged)).To(Equal(n))

			changed := min(n, 5)
			for _, u := range objects[:changed] {
				_ = unstructured.SetNestedField(u.Object, "2", "data", "a")
			}
			p, err = m.Plan(t.Context(), objects, ssa.PlanOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(take()).To(Equal(map[string]int{"list": pages, "dry-run": changed}), "some changed")
			_, err = m.Apply(t.Context(), p, ssa.ApplyOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(take()).To(Equal(map[string]int{"apply": changed}))

			_, err = m.Plan(t.Context(), objects, ssa.PlanOptions{VerifyEvery: 1})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(take()).To(Equal(map[string]int{"list": pages, "dry-run": n}), "verification")

			_, err = m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			w := take()
			g.Expect(w["list"]).To(Equal(pages))
			g.Expect(w["watch"]).To(BeNumerically("<=", 1))
			g.Expect(w).NotTo(HaveKey("get"))

			dp, err := m.PlanDelete(t.Context(), r.Inventory(), ssa.DeleteOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(take()).To(Equal(map[string]int{"metadata": pages}), "nothing but metadata is needed")
			_, err = m.Delete(t.Context(), dp, ssa.DeleteOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(take()).To(Equal(map[string]int{"delete": n}))
		})
	}
}

// SSA-28: more than eight namespaces are one LIST.
func TestManyNamespaces(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	var text strings.Builder
	for range 9 {
		text.WriteString(configMaps(namespace(t), 1))
	}
	objects := e.objects(text.String())
	e.apply(objects, ssa.PlanOptions{})
	p := e.plan(objects, ssa.PlanOptions{})
	g.Expect(p.Requests).To(Equal(ssa.Requests{List: 1}))
	p = e.plan(objects[:8], ssa.PlanOptions{})
	g.Expect(p.Requests).To(Equal(ssa.Requests{List: 8}))
}

// SSA-28: an identity that may not list reads object by object.
func TestListForbidden(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	cfg := server(t).ServiceAccount(t, e.ns, "robot", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "patch", "create"}})
	c, err := ssa.NewCluster(cfg, ssa.ClusterOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	m, err := ssa.NewManager(c, ssa.Options{Owner: e.owner})
	g.Expect(err).NotTo(HaveOccurred())
	objects := e.objects(configMaps(e.ns, 3))
	p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	p, err = m.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(p.Requests).To(Equal(ssa.Requests{Get: 3}), "the refusal is remembered")
	g.Expect(decisions(p)["ConfigMap/c0000"]).To(Equal("unchanged Proved"))
	// F16: a kind that may not even be read is an error of its objects only.
	mixed := append(slices.Clone(objects), e.objects("apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\n")...)
	p, err = m.Plan(t.Context(), mixed, ssa.PlanOptions{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(decisions(p)["Secret/s"]).To(Equal("blocked LiveUnreadable"))
	g.Expect(decisions(p)["ConfigMap/c0000"]).To(Equal("unchanged Proved"))
	dp, err := m.PlanPrune(t.Context(), p.Inventory(), p, ssa.PruneOptions{})
	var pb *ssa.PruneBlockedError
	g.Expect(err).To(BeAssignableToTypeOf(pb))
	g.Expect(dp.Deletions()).To(BeEmpty())
}
