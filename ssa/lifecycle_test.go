// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	. "github.com/onsi/gomega"
)

const shop = `
apiVersion: v1
kind: ConfigMap
metadata: {name: conf, namespace: NS}
data: {a: "1", b: "2"}
---
apiVersion: v1
kind: Secret
metadata: {name: cred, namespace: NS}
stringData: {token: hunter2}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NS}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: example.com/web:1
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
        ports: [{containerPort: 8080}]
        resources: {requests: {cpu: 100m, memory: 64Mi}}
`

// SSA-5, SSA-51, SSA-85, SSA-93
func TestLifecycle(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(shop)
	store := inventory.NewMemory(inventory.Set{})
	ledger := inventory.NewLedger(store)

	p := e.plan(objects, ssa.PlanOptions{})
	g.Expect(decisions(p)).To(Equal(map[string]string{
		"ConfigMap/conf": "create Absent", "Secret/cred": "create Absent", "Service/web": "create Absent", "Deployment/web": "create Absent",
	}))
	g.Expect(e.rec.Writes()).To(BeZero())
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{Ledger: ledger})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Count(ssa.ActionCreated)).To(Equal(4))
	g.Expect(r.Complete()).To(BeTrue())
	g.Expect(ledger.Set().Len()).To(Equal(4))

	res, err := e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Timeout: 90 * time.Second})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Targets).To(HaveLen(4))

	e.rec.Reset()
	p = e.plan(objects, ssa.PlanOptions{})
	g.Expect(decisions(p)).To(Equal(map[string]string{
		"ConfigMap/conf": "unchanged Proved", "Secret/cred": "unchanged Proved", "Service/web": "unchanged Proved", "Deployment/web": "unchanged Proved",
	}))
	g.Expect(e.rec.Count(isDryRun)).To(BeZero())
	g.Expect(e.rec.Count(isVerb("list"))).To(Equal(4))
	g.Expect(e.rec.Count(isVerb("get"))).To(BeZero())

	e.patch("someone", objects[0], `[{"op":"replace","path":"/data/a","value":"9"}]`)
	p = e.plan(objects, ssa.PlanOptions{})
	g.Expect(decisions(p)).To(HaveKeyWithValue("ConfigMap/conf", "update Changed"))
	g.Expect(p.Entries[0].Changes).To(ConsistOf(HaveField("Path", "/data/a")))
	g.Expect(p.Diff(ssa.DiffOptions{}).String()).To(ContainSubstring("-  a: \"9\"\n+  a: \"1\"\n"))
	r, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{Ledger: ledger})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(actions(r)).To(HaveKeyWithValue("ConfigMap/conf", "configured"))

	r = e.apply(objects[1:], ssa.PlanOptions{})
	dp, err := e.m.PlanPrune(t.Context(), ledger.Set(), r, ssa.PruneOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dp.Deletions()).To(Equal([]ssa.ID{ssa.IDOf(objects[0])}))
	_, err = e.m.Delete(t.Context(), dp, ssa.DeleteOptions{Ledger: ledger})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.live(objects[0])).To(BeNil())
	g.Expect(ledger.Set().Len()).To(Equal(3))

	dp, err = e.m.PlanDelete(t.Context(), ledger.Set(), ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	r, err = e.m.Delete(t.Context(), dp, ssa.DeleteOptions{Ledger: ledger, Phased: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Count(ssa.ActionDeleted)).To(Equal(3))
	g.Expect(ledger.Set().Len()).To(BeZero())
	for _, o := range objects {
		g.Expect(e.live(o)).To(BeNil())
	}
}
