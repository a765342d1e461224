// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// SSA-10 (flux2#2472, helm-controller#1419): whoever watches an aggregated role
// never sees it without rules.
func TestAggregatedRoleAsWatched(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NS-all}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {all: NS}}]}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NS-some, labels: {all: NS}}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
`)
	t.Cleanup(func() { e.cleanup(objects) })
	e.apply(objects, ssa.PlanOptions{})
	rules := func(u *unstructured.Unstructured) int {
		r, _, _ := unstructured.NestedSlice(u.Object, "rules")
		return len(r)
	}
	g.Eventually(func() int { return rules(e.live(objects[0])) }).Should(Equal(1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, err := e.cluster.Watch(ctx, e.resource("rbac.authorization.k8s.io", "v1", "ClusterRole"), ssa.ListOptions{
		FieldSelector: "metadata.name=" + e.ns + "-all", ResourceVersion: e.live(objects[0]).GetResourceVersion(),
	})
	g.Expect(err).NotTo(HaveOccurred())
	defer w.Stop()
	for range 3 {
		_, err := e.m.Apply(t.Context(), e.plan(objects, ssa.PlanOptions{VerifyEvery: 1}), ssa.ApplyOptions{})
		g.Expect(err).NotTo(HaveOccurred())
	}
	e.patch("end", objects[0], `[{"op":"add","path":"/metadata/annotations","value":{"end":"yes"}}]`)
	for {
		select {
		case ev := <-w.ResultChan():
			u, ok := ev.Object.(*unstructured.Unstructured)
			g.Expect(ok).To(BeTrue(), "%v", ev)
			if u.GetName() == "" {
				continue // a bookmark
			}
			g.Expect(rules(u)).To(Equal(1))
			g.Expect(u.GetAnnotations()).To(HaveKeyWithValue("end", "yes"), "nothing else was written")
			return
		case <-time.After(90 * time.Second):
			t.Fatal("the last event did not come")
		}
	}
}

// SSA-22, SSA-32, SSA-97 (flux2#1842): a count that the scale subresource set stays
// when the set gives it up; one that nobody else set goes, for all to see.
func TestReplicasGivenUp(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	deployment := func(name, spec string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + ", namespace: NS}\nspec:\n  " + spec +
			"selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec: {containers: [{name: c, image: 'example.com/c:1'}], nodeSelector: {none: such}}\n"
	}
	with, without := "replicas: 3\n  ", ""
	e.apply(e.objects(deployment("scaled", with)+"---\n"+deployment("alone", with)), ssa.PlanOptions{})
	cfg := server(t).Config()
	c, err := rest.HTTPClientFor(cfg)
	g.Expect(err).NotTo(HaveOccurred())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, cfg.Host+"/apis/apps/v1/namespaces/"+e.ns+"/deployments/scaled/scale?fieldManager=hpa", strings.NewReader(`{"spec":{"replicas":5}}`))
	g.Expect(err).NotTo(HaveOccurred())
	req.Header.Set("Content-Type", "application/merge-patch+json")
	resp, err := c.Do(req)
	g.Expect(err).NotTo(HaveOccurred())
	text, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	g.Expect(resp.StatusCode).To(Equal(http.StatusOK), "%s", text)

	objects := e.objects(deployment("scaled", without) + "---\n" + deployment("alone", without))
	replicas := func(u *unstructured.Unstructured) int64 {
		n, _, _ := unstructured.NestedInt64(e.live(u).Object, "spec", "replicas")
		return n
	}
	g.Expect(replicas(objects[0])).To(Equal(int64(5)))
	p := e.plan(objects, ssa.PlanOptions{})
	g.Expect(decisions(p)["Deployment/scaled"]).To(HavePrefix("unchanged"))
	g.Expect(decisions(p)["Deployment/alone"]).To(Equal("update Changed"))
	for _, en := range p.Entries {
		if en.ID.Name == "scaled" {
			g.Expect(en.Changes).To(BeEmpty())
			continue
		}
		g.Expect(en.Changes).To(HaveLen(1))
		g.Expect(en.Changes[0].Path).To(Equal("/spec/replicas"))
		g.Expect(en.Changes[0].Before).To(BeEquivalentTo(3))
		g.Expect(en.Changes[0].After).To(BeEquivalentTo(1))
	}
	_, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(replicas(objects[0])).To(Equal(int64(5)))
	g.Expect(replicas(objects[1])).To(Equal(int64(1)))
}

// SSA-78 (argo-cd#29201): the claim of a suspended job waits for its first use, and
// nobody waits for the claim.
func TestClaimOfASuspendedJob(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(`
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: NS-late}
provisioner: example.com/none
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: late, namespace: NS}
spec: {storageClassName: NS-late, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: job, namespace: NS}
spec:
  schedule: "@daily"
  suspend: true
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: c, image: "example.com/c:1", volumeMounts: [{name: v, mountPath: /v}]}]
          volumes: [{name: v, persistentVolumeClaim: {claimName: late}}]
`)
	t.Cleanup(func() { e.cleanup(objects) })
	res, err := e.m.Wait(t.Context(), e.apply(objects, ssa.PlanOptions{}).Targets(), ssa.WaitOptions{Timeout: 90 * time.Second})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(statuses(res)).To(HaveKeyWithValue("PersistentVolumeClaim/late", "Current WaitingForConsumer"))
	g.Expect(statuses(res)).To(HaveKeyWithValue("CronJob/job", HavePrefix("Current")))
}
