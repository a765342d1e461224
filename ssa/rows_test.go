// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// SSA-21: of two rules that both apply the first one decides. Each row is an
// object to which two neighbouring rules apply.
func TestPrecedenceOfRules(t *testing.T) {
	t.Parallel()
	unreadable := func(e *env) {
		e.rec.Before(func(c ssatestCall) error {
			if c.Verb == "get" || c.Verb == "list" {
				return apierrors.NewInternalError(errors.New("injected"))
			}
			return nil
		})
	}
	foreign := func(e *env, extra string) {
		e.createAs("kubectl-create", e.objects(cm(", labels: {test.gitops-kit.github.io/name: other, test.gitops-kit.github.io/namespace: sets}" + extra))[0])
	}
	dying := func(e *env) {
		u := e.objects(cm(""))[0]
		e.patch("x", u, `[{"op":"add","path":"/metadata/finalizers","value":["example.com/hold"]}]`)
		e.remove(u)
		e.t.Cleanup(func() {
			_, _ = e.cluster.Send(context.WithoutCancel(e.t.Context()), ssa.Write{Verb: ssa.VerbJSONPatch, Resource: e.resource("", "v1", "ConfigMap"), Namespace: e.ns, Name: "c", Patch: []byte(`[{"op":"remove","path":"/metadata/finalizers"}]`)})
		})
	}
	sel := ssa.Selector{"example.com/ssa": "ignore"}
	present := ssa.Selector{"example.com/ssa": "ignore"}
	kubectl := ssa.Takeover{Managers: []ssa.ManagerMatch{{Name: "kubectl"}}}
	marked := cm(", annotations: {example.com/ssa: ignore}")
	unknown := "---\napiVersion: none.example.com/v1\nkind: Nothing\nmetadata: {name: nn, namespace: NS}\n"
	role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: b, namespace: NS}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAME}\nsubjects: [{kind: User, name: NAME, apiGroup: rbac.authorization.k8s.io}]\n"
	cases := map[string]struct {
		reason  string
		prepare func(*env)
		desired string
		o       ssa.PlanOptions
		want    string
		dryRuns int
	}{
		"1before2": {"invalid, and of an unknown kind", nil, unknown + unknown, ssa.PlanOptions{DeferUnknownKinds: true}, "blocked Invalid", 0},
		"2before3": {"of an unknown kind; nothing is read", unreadable, unknown, ssa.PlanOptions{DeferUnknownKinds: true}, "deferred UnknownKind", 0},
		"3before4": {"not readable, and excluded", unreadable, marked, ssa.PlanOptions{Exclude: sel}, "blocked LiveUnreadable", 0},
		"4before5": {"excluded, and present", func(e *env) { foreign(e, "") }, marked, ssa.PlanOptions{Exclude: sel, IfNotPresent: present}, "skip Excluded", 0},
		"5before6": {"present, and another owner's", func(e *env) { foreign(e, "") }, marked, ssa.PlanOptions{IfNotPresent: present, FailOnOtherOwner: true}, "skip Present", 0},
		"6before7": {"another owner's, and terminating", func(e *env) { foreign(e, ""); dying(e) }, cm(""), ssa.PlanOptions{FailOnOtherOwner: true}, "blocked Invalid", 0},
		"7before9": {"terminating, and to be taken over", func(e *env) { foreign(e, ""); dying(e) }, cm(""), ssa.PlanOptions{Takeover: kubectl}, "deferred Terminating", 0},
		"9before10": {"to be taken over, and provable", func(e *env) {
			e.apply(e.objects(cm("")), ssa.PlanOptions{})
			e.patch("kubectl-edit", e.objects(cm(""))[0], `[{"op":"add","path":"/data/x","value":"y"}]`)
		}, cm(""), ssa.PlanOptions{Takeover: kubectl}, "update Takeover", 1},
		"10before11": {"provable, and the server would say the same", func(e *env) { e.apply(e.objects(cm("")), ssa.PlanOptions{}) }, cm(""), ssa.PlanOptions{}, "unchanged Proved", 0},
		"11before12": {"ownership differs, values do not", func(e *env) {
			e.createAs("x", e.objects(cm(", labels: {test.gitops-kit.github.io/name: NS, test.gitops-kit.github.io/namespace: sets}"))[0])
		}, cm(""), ssa.PlanOptions{}, "unchanged Verified", 1},
		"12before13": {"force, and nothing immutable", func(e *env) { e.apply(e.objects(cm("")), ssa.PlanOptions{}) }, strings.ReplaceAll(cm(""), `"1"`, `"2"`), ssa.PlanOptions{Force: true}, "update Changed", 1},
		"13before14": {"rejected as immutable, with force", func(e *env) { e.apply(e.objects(strings.ReplaceAll(role, "NAME", "view")), ssa.PlanOptions{}) }, strings.ReplaceAll(role, "NAME", "edit"), ssa.PlanOptions{Force: true}, "recreate Immutable", 2},
		"14":         {"rejected for another reason, with force", func(e *env) { e.apply(e.objects(cm("")), ssa.PlanOptions{}) }, strings.ReplaceAll(cm(""), `data: {a: "1"}`, `data: {"a b": "1"}`), ssa.PlanOptions{Force: true}, "blocked Invalid", 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, ssa.Options{})
			if tc.prepare != nil {
				tc.prepare(e)
			}
			e.rec.Reset()
			p, err := e.m.Plan(t.Context(), e.objects(tc.desired), tc.o)
			for i := range p.Entries {
				en := &p.Entries[i]
				e.g.Expect(string(en.Decision)+" "+string(en.Why)).To(Equal(tc.want), "%s: %v", tc.reason, en.Err)
			}
			e.g.Expect(err != nil).To(Equal(strings.HasPrefix(tc.want, "blocked")))
			e.g.Expect(e.rec.Count(isDryRun)).To(Equal(tc.dryRuns), tc.reason)
			e.g.Expect(e.rec.Writes()).To(BeZero())
			if name == "6before7" {
				var oc *ssa.OwnerConflictError
				e.g.Expect(errors.As(err, &oc)).To(BeTrue())
				e.g.Expect(oc.Other.Name).To(Equal("other"))
			}
			if name == "1before2" {
				e.g.Expect(errors.Is(err, ssa.ErrDuplicateObject)).To(BeTrue())
			}
		})
	}
}

// SSA-84, SSA-90, SSA-91: what is never deleted, whoever's labels it carries;
// and what is the same object under another name.
func TestNeverDeleted(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	owned := `[{"op":"add","path":"/metadata/labels/test.gitops-kit.github.io~1name","value":"` + e.ns + `"},{"op":"add","path":"/metadata/labels/test.gitops-kit.github.io~1namespace","value":"sets"}]`
	free := []byte(`[{"op":"remove","path":"/metadata/labels/test.gitops-kit.github.io~1name"},{"op":"remove","path":"/metadata/labels/test.gitops-kit.github.io~1namespace"}]`)
	var old inventory.Set
	system := []string{"kube-system", "kube-public", "kube-node-lease", "default"}
	for _, name := range system {
		u := e.objects("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n")[0]
		e.patch("x", u, owned)
		t.Cleanup(func() {
			_, _ = e.cluster.Send(context.WithoutCancel(t.Context()), ssa.Write{Verb: ssa.VerbJSONPatch, Resource: e.resource("", "v1", "Namespace"), Name: name, Patch: free, FieldManager: "x"})
		})
		old.Add(inventory.Item{ID: ssa.IDOf(u), Version: "v1"})
	}
	group := e.ns + ".example.com"
	objects := e.objects(crd(group, "") + "---\napiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: w, namespace: NS}\n---\n" + configMaps(e.ns, 2))
	e.apply(objects, ssa.PlanOptions{})
	t.Cleanup(func() { e.cleanup(objects[:1]) })
	for _, u := range []*unstructured.Unstructured{objects[0], objects[2], objects[3]} {
		old.Add(inventory.Item{ID: ssa.IDOf(u), Version: "v1"})
	}
	event := e.objects("apiVersion: events.k8s.io/v1\nkind: Event\nmetadata: {name: ev, namespace: NS}\neventTime: \"2026-01-01T00:00:00.000000Z\"\nreportingController: example.com/x\nreportingInstance: x\naction: a\nreason: r\ntype: Normal\nregarding: {kind: ConfigMap, namespace: NS, name: c0000, apiVersion: v1}\n")[0]
	event.SetLabels(e.owner.Labels())
	e.createAs("x", event)
	uid := string(e.live(event).GetUID())
	old.Add(inventory.Item{ID: ssa.ID{Namespace: e.ns, Name: "ev", Kind: "Event"}, Version: "v1", UID: uid})
	var keep inventory.Set
	keep.Add(inventory.Item{ID: ssa.IDOf(objects[1]), Version: "v1"})
	keep.Add(inventory.Item{ID: ssa.IDOf(event), Version: "v1", UID: uid})

	e.rec.Reset()
	o := ssa.DeleteOptions{Protect: []ssa.Match{{Kind: "ConfigMap", Name: ".*[01]", Namespace: e.ns}}}
	dp, err := e.m.PlanPrune(t.Context(), old, kept{keep, true}, ssa.PruneOptions{DeleteOptions: o})
	g.Expect(err).NotTo(HaveOccurred())
	want := map[string]string{
		"ConfigMap/c0000": "skip Protected", "ConfigMap/c0001": "skip Protected", "Event/ev": "skip SameObject",
		"CustomResourceDefinition/widgets." + group: "skip InUse",
	}
	for _, name := range system {
		want["Namespace/"+name] = "skip Protected"
	}
	got := map[string]string{}
	for _, en := range dp.Entries {
		got[en.ID.Kind+"/"+en.ID.Name] = string(en.Decision) + " " + string(en.Why)
	}
	g.Expect(got).To(Equal(want))
	g.Expect(dp.Deletions()).To(BeEmpty())
	ledger := inventory.NewLedger(inventory.NewMemory(old.Union(keep)))
	o.Ledger = ledger
	_, err = e.m.Delete(t.Context(), dp, o)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.rec.Writes()).To(BeZero())
	g.Expect(ledger.Set().Contains(ssa.ID{Namespace: e.ns, Name: "ev", Kind: "Event"})).To(BeFalse(), "one object has one entry")
	g.Expect(ledger.Set().Contains(ssa.IDOf(event))).To(BeTrue())
	g.Expect(ledger.Set().Len()).To(Equal(len(system) + 3 + 2))
	g.Expect(e.live(event)).NotTo(BeNil())
	g.Expect(e.live(objects[1])).NotTo(BeNil())
}
