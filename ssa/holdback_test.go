// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"errors"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// refuse makes the server refuse deletions of the name.
func (e *env) refuse(name string) {
	e.rec.Before(func(c ssatestCall) error {
		if c.Verb == "delete" && c.Name == name {
			return apierrors.NewForbidden(schema.GroupResource{}, name, errInjected)
		}
		return nil
	})
}

// whys returns the action of each outcome, and why.
func whys(r *ssa.Result) map[string]string {
	out := map[string]string{}
	for _, o := range r.Outcomes {
		out[o.ID.Kind+"/"+o.ID.Name] = string(o.Action) + " " + string(o.Why)
	}
	return out
}

// deletions returns the names that were deleted, in order.
func (e *env) deletions() (names []string) {
	for _, c := range e.rec.Calls() {
		if c.Verb == "delete" {
			names = append(names, c.Name)
		}
	}
	return names
}

func dependent(kind, name, on string) string {
	return "---\napiVersion: v1\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: NS, annotations: {config.kubernetes.io/depends-on: " + on + "}}\n"
}

// SSA-86, SSA-87, SSA-91: a custom resource whose deletion the server refuses
// keeps its operator and its definition; with ContinueAfterTimeout only its
// definition, without which it would be gone.
func TestRefusedDeletionStopsATeardown(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		goOn bool
		want string
	}{"Stop": {false, "notAttempted NotListed"}, "GoOn": {true, "deleted NotListed"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, ssa.Options{})
			g := e.g
			group := e.ns + ".example.com"
			objects := append(e.objects(crd(group, "")), e.objects("apiVersion: "+group+"/v1\nkind: Widget\nmetadata: {name: w, namespace: NS}\n---\n"+cm(""))...)
			old := e.apply(objects, ssa.PlanOptions{}).Inventory()
			t.Cleanup(func() { e.rec.Before(nil); e.cleanup(objects) })
			dp, err := e.m.PlanDelete(t.Context(), old, ssa.DeleteOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			e.refuse("w")
			r, err := e.m.Delete(t.Context(), dp, ssa.DeleteOptions{Phased: true, ContinueAfterTimeout: tc.goOn})
			g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
			got := whys(r)
			g.Expect(got).To(HaveKeyWithValue("Widget/w", "failed NotListed"))
			g.Expect(got).To(HaveKeyWithValue("ConfigMap/c", tc.want))
			g.Expect(got["CustomResourceDefinition/widgets."+group]).NotTo(HavePrefix("deleted"))
			for _, u := range objects[:2] {
				live := e.live(u)
				g.Expect(live).NotTo(BeNil())
				g.Expect(live.GetDeletionTimestamp()).To(BeNil())
				g.Expect(r.Inventory().Contains(ssa.IDOf(u))).To(BeTrue())
			}
		})
	}
}

// SSA-86, SSA-91: a namespace is not deleted when the deletion of something in
// it failed.
func TestRefusedDeletionKeepsTheNamespace(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects("apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-in}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: NS-in}\n")
	old := e.apply(objects, ssa.PlanOptions{}).Inventory()
	t.Cleanup(func() { e.rec.Before(nil); e.cleanup(objects) })
	dp, err := e.m.PlanDelete(t.Context(), old, ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	e.refuse("a")
	r, err := e.m.Delete(t.Context(), dp, ssa.DeleteOptions{})
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
	g.Expect(whys(r)).To(Equal(map[string]string{"ConfigMap/a": "failed NotListed", "Namespace/" + e.ns + "-in": "skipped InUse"}))
	g.Expect(e.live(objects[0]).GetDeletionTimestamp()).To(BeNil())
	g.Expect(r.Inventory().Len()).To(Equal(2))
}

// SSA-84, SSA-91: an object that somebody else put in the place of ours since
// the plan is not deleted with its namespace, nor is one that was ours with
// another UID.
func TestReplacedObjectKeepsItsNamespace(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects("apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-in}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: NS-in}\n")
	old := e.apply(objects, ssa.PlanOptions{}).Inventory()
	t.Cleanup(func() { e.cleanup(objects) })
	dp, err := e.m.PlanDelete(t.Context(), old, ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	e.delete(objects[1])
	other := objects[1].DeepCopy()
	other.SetLabels(ssa.Owner{LabelGroup: e.owner.LabelGroup, Name: "other", Namespace: "sets"}.Labels())
	e.createAs("other", other)
	r, err := e.m.Delete(t.Context(), dp, ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(whys(r)).To(Equal(map[string]string{"ConfigMap/a": "skipped Replaced", "Namespace/" + e.ns + "-in": "skipped InUse"}))

	// The same, found out by the plan.
	ours := objects[1].DeepCopy()
	e.delete(objects[1])
	ours.SetLabels(e.owner.Labels())
	e.createAs("other", ours)
	var items []inventory.Item
	for it := range old.Items() {
		if it.ID.Kind == "ConfigMap" {
			it.UID = "another"
		}
		items = append(items, it)
	}
	dp, err = e.m.PlanDelete(t.Context(), inventory.NewSet(items...), ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dp.Deletions()).To(BeEmpty())
	g.Expect(e.live(objects[0]).GetDeletionTimestamp()).To(BeNil())
}

// SSA-19, SSA-87: what depends on something is deleted before it, whatever
// their kinds; what a spared object depends on is spared.
func TestDependenciesOfDeletions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text   string // after the definition
		o      ssa.DeleteOptions
		refuse string
		order  []string
		want   map[string]string
	}{
		"ByKind": {
			"apiVersion: v1\nkind: Secret\nmetadata: {name: base, namespace: NS}\n" + dependent("ServiceAccount", "user", "/namespaces/NS/Secret/base"),
			ssa.DeleteOptions{},
			"",
			[]string{"user", "base"},
			nil,
		},
		"Chain": {
			cm("") + dependent("ServiceAccount", "s", "/namespaces/NS/ConfigMap/c") + dependent("Secret", "t", "/namespaces/NS/ServiceAccount/s"),
			ssa.DeleteOptions{},
			"",
			[]string{"t", "s", "c"},
			nil,
		},
		"Phased": {
			"apiVersion: GROUP/v1\nkind: Widget\nmetadata: {name: w, namespace: NS}\n" + dependent("ConfigMap", "app", "GROUP/namespaces/NS/Widget/w"),
			ssa.DeleteOptions{Phased: true},
			"",
			[]string{"app", "w", "widgets.GROUP"},
			nil,
		},
		"KeptNeeds": {
			"apiVersion: v1\nkind: Secret\nmetadata: {name: base, namespace: NS}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: user, namespace: NS, annotations: {keep: \"true\", config.kubernetes.io/depends-on: /namespaces/NS/Secret/base}}\n",
			ssa.DeleteOptions{Keep: ssa.Selector{"keep": "true"}},
			"",
			nil,
			map[string]string{"Secret/base": "skipped InUse", "Secret/user": "skipped Kept"},
		},
		"RefusedNeeds": {
			"apiVersion: v1\nkind: Secret\nmetadata: {name: base, namespace: NS}\n" + dependent("ServiceAccount", "user", "/namespaces/NS/Secret/base"),
			ssa.DeleteOptions{},
			"user",
			[]string{"user"},
			map[string]string{"Secret/base": "skipped InUse", "ServiceAccount/user": "failed NotListed"},
		},
		"Circle": {
			dependent("Secret", "a", "/namespaces/NS/Secret/b") + dependent("Secret", "b", "/namespaces/NS/Secret/a"),
			ssa.DeleteOptions{},
			"",
			nil,
			map[string]string{"Secret/a": "deleted NotListed", "Secret/b": "deleted NotListed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, ssa.Options{})
			g := e.g
			group := e.ns + ".example.com"
			var objects []*unstructured.Unstructured
			if name == "Phased" {
				objects = e.objects(crd(group, ""))
			}
			objects = append(objects, e.objects(replaceGroup(tc.text, group))...)
			old := e.apply(objects, ssa.PlanOptions{}).Inventory()
			t.Cleanup(func() { e.rec.Before(nil); e.cleanup(objects) })
			dp, err := e.m.PlanDelete(t.Context(), old, tc.o)
			g.Expect(err).NotTo(HaveOccurred())
			if tc.refuse != "" {
				e.refuse(tc.refuse)
			}
			e.rec.Reset()
			r, err := e.m.Delete(t.Context(), dp, tc.o)
			g.Expect(err != nil).To(Equal(tc.refuse != ""), "%v", err)
			if tc.order != nil {
				var order []string
				for _, n := range tc.order {
					order = append(order, replaceGroup(n, group))
				}
				g.Expect(e.deletions()).To(Equal(order))
			}
			if tc.want != nil {
				g.Expect(whys(r)).To(Equal(tc.want))
			}
		})
	}
}

// SSA-87: what is not gone in time is named with all its finalizers.
func TestSurvivorsAreNamedWithTheirFinalizers(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: NS, finalizers: [example.com/two, example.com/one]}\n")
	old := e.apply(objects, ssa.PlanOptions{}).Inventory()
	defer e.patch("x", objects[0], `[{"op":"remove","path":"/metadata/finalizers"}]`)
	dp, err := e.m.PlanDelete(t.Context(), old, ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	// Until the first look at it was in time.
	g.Eventually(func() []string {
		_, err := e.m.Delete(t.Context(), dp, ssa.DeleteOptions{Phased: true, PhaseTimeout: 1e9})
		var te *ssa.TerminatingError
		g.Expect(errors.As(err, &te)).To(BeTrue(), "%v", err)
		return te.Finalizers
	}, "90s").Should(ConsistOf("example.com/one", "example.com/two"))
}

// SSA-91: what another set has claimed leaves the inventory only when the
// labels name that set; a claim of our own is none.
func TestClaims(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(configMaps(e.ns, 4))
	old := e.apply(objects, ssa.PlanOptions{}).Inventory()
	other := ssa.Owner{LabelGroup: e.owner.LabelGroup, Name: "other", Namespace: "sets"}
	relabel := func(u *unstructured.Unstructured, name string) {
		e.patch("x", u, `[{"op":"replace","path":"/metadata/labels/`+e.owner.LabelGroup+`~1name","value":"`+name+`"}]`)
	}
	relabel(objects[1], "other")
	relabel(objects[2], "third")
	o := ssa.DeleteOptions{Claimed: func(_ context.Context, asked []ssa.ID) (map[ssa.ID]ssa.Owner, error) {
		out := map[ssa.ID]ssa.Owner{}
		for _, id := range asked {
			out[id] = other
		}
		out[ssa.IDOf(objects[3])] = e.owner
		return out, nil
	}}
	dp, err := e.m.PlanDelete(t.Context(), old, o)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dp.Deletions()).To(Equal([]ssa.ID{ssa.IDOf(objects[3])}))
	r, err := e.m.Delete(t.Context(), dp, o)
	g.Expect(err).NotTo(HaveOccurred())
	var in []bool
	for _, u := range objects {
		in = append(in, r.Inventory().Contains(ssa.IDOf(u)))
	}
	g.Expect(in).To(Equal([]bool{true, false, true, false}))
}
