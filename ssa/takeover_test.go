// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// createAs writes o with a create, as clients without server-side apply do.
func (e *env) createAs(manager string, o *unstructured.Unstructured) {
	e.t.Helper()
	gvk := o.GroupVersionKind()
	_, err := e.cluster.Send(e.t.Context(), ssa.Write{Verb: ssa.VerbCreate, Resource: e.resource(gvk.Group, gvk.Version, gvk.Kind), Namespace: o.GetNamespace(), Object: o, FieldManager: manager})
	e.g.Expect(err).NotTo(HaveOccurred())
}

func managerNames(u *unstructured.Unstructured) []string {
	var out []string
	for _, m := range u.GetManagedFields() {
		out = append(out, m.Manager+" "+string(m.Operation))
	}
	return out
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// SSA-21 (rule 9), SSA-60, SSA-61, SSA-63: what kubectl left behind becomes
// ours, and what nobody wants any more goes away.
func TestTakeoverOfClientSideApply(t *testing.T) {
	takeover := ssa.Takeover{Managers: []ssa.ManagerMatch{{Name: "kubectl"}, {Name: "before-first-apply", Exact: true, Operation: "Update"}}, Annotations: []string{lastApplied}, Labels: []string{"old"}}
	for _, name := range []string{"kubectl-client-side-apply", "before-first-apply"} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, ssa.Options{})
			g := e.g
			old := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS, labels: {old: x, keep: z}, annotations: {" + lastApplied + ": '{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"secret\":\"canary\"}'}}\ndata: {a: \"1\", stale: \"1\"}\n")[0]
			e.createAs(name, old)
			desired := e.objects(cm(""))
			p := e.plan(desired, ssa.PlanOptions{Takeover: takeover})
			g.Expect(decisions(p)["ConfigMap/c"]).To(Equal("update Takeover"))
			var removed []string
			for _, c := range p.Entries[0].Changes {
				if c.Op == ssa.OpRemove {
					removed = append(removed, c.Path)
				}
			}
			g.Expect(removed).To(ContainElements("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration", "/metadata/labels/old", "/data/stale", "/metadata/managedFields"))
			b, _ := json.Marshal(p)
			g.Expect(string(b)).NotTo(ContainSubstring("canary"))
			g.Expect(p.Diff(ssa.DiffOptions{}).String()).NotTo(ContainSubstring("canary"))
			r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(actions(r)["ConfigMap/c"]).To(Equal("configured"))
			live := e.live(desired[0])
			g.Expect(live.Object["data"]).To(Equal(map[string]any{"a": "1"}))
			g.Expect(live.GetAnnotations()).To(BeEmpty())
			g.Expect(live.GetLabels()).NotTo(HaveKey("old"))
			g.Expect(managerNames(live)).To(Equal([]string{testManager + " Apply"}))
			g.Expect(decisions(e.plan(desired, ssa.PlanOptions{Takeover: takeover}))["ConfigMap/c"]).To(Equal("unchanged Proved"))
		})
	}
}

// SSA-60: an exempt object is applied without a take-over.
func TestNoTakeover(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	e.createAs("kubectl", e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS}\ndata: {a: \"1\", stale: \"1\"}\n")[0])
	desired := e.objects(cm(", annotations: {example.com/ssa: merge}"))
	o := ssa.PlanOptions{Takeover: ssa.Takeover{Managers: []ssa.ManagerMatch{{Name: "kubectl"}}}, NoTakeover: ssa.Selector{"example.com/ssa": "Merge"}}
	e.apply(desired, o)
	live := e.live(desired[0])
	e.g.Expect(live.Object["data"]).To(HaveKey("stale"))
	e.g.Expect(managerNames(live)).To(ContainElement("kubectl Update"))
}

// SSA-61: a writer between read and patch makes it fail; it is tried again.
func TestTakeoverRacesAWriter(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	e.createAs("kubectl", e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS}\ndata: {a: \"1\", stale: \"1\"}\n")[0])
	desired := e.objects(cm(""))
	p := e.plan(desired, ssa.PlanOptions{Takeover: ssa.Takeover{Managers: []ssa.ManagerMatch{{Name: "kubectl"}}}})
	n := 0
	e.rec.Before(func(c ssatestCall) error {
		if c.Verb == "jsonpatch" {
			if n++; n <= 3 {
				e.patch("racer", desired[0], `[{"op":"add","path":"/data/r`+strconv.Itoa(n)+`","value":"x"}]`)
			}
		}
		return nil
	})
	_, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(n).To(Equal(4))
	live := e.live(desired[0])
	g.Expect(live.Object["data"]).To(Equal(map[string]any{"a": "1", "r1": "x", "r2": "x", "r3": "x"}))
	g.Expect(managerNames(live)).To(ConsistOf(testManager+" Apply", "racer Update"))
}

// SSA-63: a dry-run that can only succeed after the fields are ours.
func TestTakeoverThatCannotBeRehearsed(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	svc := "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: NS}\nspec: {selector: {a: b}, ports: [{name: PORT, port: NUM}]}\n"
	e.createAs("kubectl", e.objects(strings.NewReplacer("PORT", "http", "NUM", "80").Replace(svc))[0])
	desired := e.objects(strings.NewReplacer("PORT", "http", "NUM", "81").Replace(svc)) // same name, other key: both ports until kubectl's goes
	_, err := e.m.Plan(t.Context(), desired, ssa.PlanOptions{})
	g.Expect(err).To(HaveOccurred())
	p := e.plan(desired, ssa.PlanOptions{Takeover: ssa.Takeover{Managers: []ssa.ManagerMatch{{Name: "kubectl"}}}})
	g.Expect(decisions(p)["Service/s"]).To(Equal("update Takeover"))
	g.Expect(p.Entries[0].Unproved).To(Equal(string(ssa.WhyUnverified)))
	_, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	ports, _, _ := unstructured.NestedSlice(e.live(desired[0]).Object, "spec", "ports")
	g.Expect(ports).To(HaveLen(1))
}

// SSA-31 (EntryVersion), SSA-62: a definition with two versions.
func TestMigrateAPIVersion(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	two := e.objects(crd(group, ""))
	versions, _, _ := unstructured.NestedSlice(two[0].Object, "spec", "versions")
	b, _ := json.Marshal(versions[0])
	var old map[string]any
	_ = json.Unmarshal(b, &old)
	old["name"], old["storage"] = "v1beta1", false
	_ = unstructured.SetNestedSlice(two[0].Object, append(versions, old), "spec", "versions")
	e.apply(two, ssa.PlanOptions{})
	t.Cleanup(func() { e.cleanup(two) })
	w := "apiVersion: " + group + "/VERSION\nkind: Widget\nmetadata: {name: w, namespace: NS}\nspec: {a: 1}\n"
	beta, stable := e.objects(strings.ReplaceAll(w, "VERSION", "v1beta1")), e.objects(strings.ReplaceAll(w, "VERSION", "v1"))
	e.apply(beta, ssa.PlanOptions{})
	p := e.plan(stable, ssa.PlanOptions{})
	g.Expect(p.Entries[0].Unproved).To(Equal("EntryVersion"))
	p = e.plan(stable, ssa.PlanOptions{MigrateAPIVersion: true})
	g.Expect(decisions(p)["Widget/w"]).To(Equal("update Takeover"))
	_, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	for _, m := range e.live(stable[0]).GetManagedFields() {
		g.Expect(m.APIVersion).To(Equal(group + "/v1"))
	}
	g.Expect(decisions(e.plan(stable, ssa.PlanOptions{MigrateAPIVersion: true}))["Widget/w"]).To(Equal("unchanged Proved"))
}

// SSA-22: values right, field set not: unchanged, unless the caller wants it.
func TestSyncOwnership(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	u := e.objects(cm(", labels: {test.gitops-kit.github.io/name: NS, test.gitops-kit.github.io/namespace: sets}"))[0]
	e.createAs("someone", u)
	desired := e.objects(cm(""))
	g.Expect(decisions(e.plan(desired, ssa.PlanOptions{}))["ConfigMap/c"]).To(Equal("unchanged Verified"))
	g.Expect(decisions(e.plan(desired, ssa.PlanOptions{SyncOwnership: true}))["ConfigMap/c"]).To(Equal("update Ownership"))
	e.apply(desired, ssa.PlanOptions{SyncOwnership: true})
	g.Expect(decisions(e.plan(desired, ssa.PlanOptions{SyncOwnership: true}))["ConfigMap/c"]).To(Equal("unchanged Proved"))
}

var errInjected = errors.New("injected")
