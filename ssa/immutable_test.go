// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
)

const job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x, namespace: NS}\nspec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: \"i:@V\"}]}}}\n"

// F51, SSA-70, SSA-71, SSA-72, SSA-73: recreation only where the server names an
// immutable field and accepts the replacement.
func TestImmutable(t *testing.T) {
	t.Parallel()
	volume := "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: x, namespace: NS}\nspec: {replicas: 0, serviceName: s, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}, volumeClaimTemplates: [{metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: @VGi}}}}]}\n"
	cases := map[string]struct{ yaml, before, after, field string }{
		"JobTemplate":    {job, "1", "2", "spec.template.spec"},
		"StatefulSet":    {volume, "1", "2", "spec.volumeClaimTemplates"},
		"DeploySelector": {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, namespace: NS}\nspec: {replicas: 0, selector: {matchLabels: {a: b, v: \"@V\"}}, template: {metadata: {labels: {a: b, v: \"@V\"}}, spec: {containers: [{name: c, image: i}]}}}\n", "1", "2", "spec.selector"},
		"RoleRef":        {"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: x, namespace: NS}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r@V}\nsubjects: []\n", "1", "2", "roleRef"},
		"ConfigMap":      {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: NS}\nimmutable: true\ndata: {a: @V}\n", "one", "two", "data"},
		"Secret":         {"apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: NS}\nimmutable: true\nstringData: {a: @V}\n", "one", "two", "data"},
		"SecretType":     {"apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: NS}\ntype: example.com/@V\n", "one", "two", "type"},
		"ServiceIP":      {"apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: NS}\nspec: {clusterIP: @V, selector: {a: b}, ports: [{port: 80, protocol: TCP}]}\n", "None", "10.96.77.77", "spec.clusterIPs[0]"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, ssa.Options{})
			g := e.g
			old, next := e.objects(strings.ReplaceAll(tc.yaml, "@V", tc.before)), e.objects(strings.ReplaceAll(tc.yaml, "@V", tc.after))
			e.apply(old, ssa.PlanOptions{})
			uid := e.live(old[0]).GetUID()
			p, err := e.m.Plan(t.Context(), next, ssa.PlanOptions{})
			var im *ssa.ImmutableError
			g.Expect(errors.As(err, &im)).To(BeTrue(), "%v", err)
			g.Expect(im.Fields).To(ContainElement(tc.field))
			g.Expect(p.Entries[0].Why).To(Equal(ssa.WhyImmutable))
			if strings.HasPrefix(name, "Secret") {
				g.Expect(err.Error()).NotTo(ContainSubstring(tc.after))
			}
			p = e.plan(next, ssa.PlanOptions{Force: true})
			g.Expect(p.Entries[0].Decision).To(Equal(ssa.DecisionRecreate))
			e.rec.Reset()
			r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(r.Outcomes[0].Action).To(Equal(ssa.ActionCreated))
			g.Expect(e.live(next[0]).GetUID()).NotTo(Equal(uid))
			g.Expect(e.rec.Count(func(c ssatestCall) bool { return c.Verb == "delete" && c.UID == string(uid) })).To(Equal(1))
			g.Expect(e.plan(next, ssa.PlanOptions{}).Entries[0].Decision).To(Equal(ssa.DecisionUnchanged))
		})
	}
}

// SSA-72: an ordinary mistake deletes nothing, force or not.
func TestTypoWithForce(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	old := e.objects(strings.ReplaceAll(job, "@V", "1"))
	e.apply(old, ssa.PlanOptions{})
	uid := e.live(old[0]).GetUID()
	for _, bad := range []string{
		strings.ReplaceAll(job, "restartPolicy: Never", "restartPolicy: Nevr"), // immutable and invalid
		strings.ReplaceAll(job, "suspend: true", "suspend: maybe"),
		strings.ReplaceAll(job, "suspend: true", "backoffLimit: -1"),
	} {
		next := e.objects(strings.ReplaceAll(bad, "@V", "2"))
		p, err := e.m.Plan(t.Context(), next, ssa.PlanOptions{Force: true})
		g.Expect(err).To(HaveOccurred())
		g.Expect(p.Entries[0].Decision).To(Equal(ssa.DecisionBlocked))
		e.rec.Reset()
		_, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{ContinueOnError: true, RecreateAny: true})
		g.Expect(err).To(HaveOccurred())
		g.Expect(e.rec.Writes()).To(BeZero())
		g.Expect(e.live(old[0]).GetUID()).To(Equal(uid))
	}
}

// SSA-74: kinds that hold data are recreated only when they are marked.
func TestClaimsAreNotRecreated(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	pvc := "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: x, namespace: NS, annotations: {example.com/force: \"F\"}}\nspec: {accessModes: [@V], resources: {requests: {storage: 1Gi}}}\n"
	yamlOf := func(mode, force string) string { return strings.NewReplacer("\"F\"", force, "@V", mode).Replace(pvc) }
	e.apply(e.objects(yamlOf("ReadWriteOnce", "off1")), ssa.PlanOptions{})
	next := e.objects(yamlOf("ReadOnlyMany", "off1"))
	sel := ssa.Selector{"example.com/force": "enabled"}
	p, err := e.m.Plan(t.Context(), next, ssa.PlanOptions{Force: true, ForceSelector: sel})
	var im *ssa.ImmutableError
	g.Expect(errors.As(err, &im)).To(BeTrue())
	g.Expect(im.Why).To(ContainSubstring("marked"))
	_, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(e.rec.Count(isVerb("delete"))).To(BeZero())
	p = e.plan(e.objects(yamlOf("ReadOnlyMany", "enabled")), ssa.PlanOptions{ForceSelector: sel})
	g.Expect(p.Entries[0].Decision).To(Equal(ssa.DecisionRecreate))
	p, _ = e.m.Plan(t.Context(), next, ssa.PlanOptions{Force: true})
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{RecreateAny: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Outcomes[0].Action).To(Equal(ssa.ActionCreated))
}

// SSA-73: a finalizer that never clears, and an object that somebody else
// replaced between plan and deletion.
func TestRecreateThatCannotFinish(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	held := strings.ReplaceAll(strings.ReplaceAll(job, "namespace: NS}", "namespace: NS, finalizers: [example.com/hold]}"), "@V", "1")
	e.apply(e.objects(held), ssa.PlanOptions{})
	next := e.objects(strings.ReplaceAll(job, "@V", "2"))
	p := e.plan(next, ssa.PlanOptions{Force: true})
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{RecreateTimeout: 3 * time.Second})
	var te *ssa.TerminatingError
	g.Expect(errors.As(err, &te)).To(BeTrue())
	g.Expect(te.Finalizers).To(ConsistOf("example.com/hold"))
	g.Expect(r.Outcomes[0].Action).To(Equal(ssa.ActionFailed))
	g.Expect(r.Inventory().Contains(ssa.IDOf(next[0]))).To(BeTrue())
	e.patch("x", next[0], `[{"op":"remove","path":"/metadata/finalizers"}]`)

	e2 := newEnv(t, ssa.Options{})
	old := e2.objects(strings.ReplaceAll(job, "@V", "1"))
	e2.apply(old, ssa.PlanOptions{})
	next = e2.objects(strings.ReplaceAll(job, "@V", "2"))
	p = e2.plan(next, ssa.PlanOptions{Force: true})
	res := e2.resource("batch", "v1", "Job")
	_, err = e2.cluster.Send(t.Context(), ssa.Write{Verb: ssa.VerbDelete, Resource: res, Namespace: e2.ns, Name: "x", Propagation: "Background"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() any { return e2.live(old[0]) }).Should(BeNil())
	e2.createAs("someone", e2.objects(strings.ReplaceAll(job, "@V", "3"))[0])
	theirs := e2.live(old[0]).GetUID()
	r, err = e2.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(r.Outcomes[0].Action).To(Equal(ssa.ActionFailed))
	g.Expect(e2.live(old[0]).GetUID()).To(Equal(theirs))
}
