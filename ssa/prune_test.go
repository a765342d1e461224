// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// emptyButWhole is a set that was applied and has nothing in it.
type kept struct {
	set   inventory.Set
	whole bool
}

func (k kept) Inventory() inventory.Set { return k.set }
func (k kept) Complete() bool           { return k.whole }

func ids(t testing.TB, objects []*unstructured.Unstructured) inventory.Set {
	t.Helper()
	var s inventory.Set
	for _, o := range objects {
		s.Add(inventory.Item{ID: ssa.IDOf(o), Version: o.GroupVersionKind().Version})
	}
	return s
}

// SSA-89, SSA-90: each guard alone; nothing is deleted.
func TestPruneGuards(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(configMaps(e.ns, 10))
	objects[3].SetAnnotations(map[string]string{"example.com/prune": "confirm"})
	r := e.apply(objects, ssa.PlanOptions{})
	old := r.Inventory()
	confirm := ssa.Selector{"example.com/prune": "confirm"}
	five := kept{ids(t, objects[5:]), true}
	cases := map[string]struct {
		reason string
		kept   ssa.Kept
		o      ssa.PruneOptions
		why    string
		n      int
	}{
		"Incomplete":     {"something was not applied", kept{five.set, false}, ssa.PruneOptions{AllowEmpty: true}, ssa.PruneIncomplete, 5},
		"Empty":          {"an empty render deletes nothing", kept{inventory.Set{}, true}, ssa.PruneOptions{}, ssa.PruneEmpty, 10},
		"Budget":         {"too many", five, ssa.PruneOptions{Budget: ssa.Budget{Count: 4}}, ssa.PruneBudget, 5},
		"BudgetPercent":  {"too many, also by share", five, ssa.PruneOptions{Budget: ssa.Budget{Count: 4, Percent: 49}}, ssa.PruneBudget, 5},
		"Confirm":        {"a marked object", five, ssa.PruneOptions{Confirm: confirm}, ssa.PruneConfirm, 1},
		"WrongApproval":  {"an approval of another set", five, ssa.PruneOptions{Confirm: confirm, Approved: "000000000000"}, ssa.PruneConfirm, 1},
		"BudgetInShare":  {"many, but within the share", five, ssa.PruneOptions{Budget: ssa.Budget{Count: 4, Percent: 50}}, "", 5},
		"BudgetInCount":  {"within the count", five, ssa.PruneOptions{Budget: ssa.Budget{Count: 5}}, "", 5},
		"EmptyIsAllowed": {"by option", kept{inventory.Set{}, true}, ssa.PruneOptions{AllowEmpty: true}, "", 10},
	}
	var digest string
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dp, err := e.m.PlanPrune(t.Context(), old, tc.kept, tc.o)
			if tc.why == "" {
				g.Expect(err).NotTo(HaveOccurred(), tc.reason)
				g.Expect(dp.Deletions()).To(HaveLen(tc.n))
				return
			}
			var pb *ssa.PruneBlockedError
			g.Expect(errors.As(err, &pb)).To(BeTrue(), "%s: %v", tc.reason, err)
			g.Expect(pb.Why).To(Equal(tc.why))
			g.Expect(pb.IDs).To(HaveLen(tc.n))
			g.Expect(pb.Digest).To(MatchRegexp("^[0-9a-f]{12}$"))
			g.Expect(pb.Reason()).To(Equal("PruneBlocked"))
			r, err := e.m.Delete(t.Context(), dp, ssa.DeleteOptions{})
			g.Expect(errors.As(err, &pb)).To(BeTrue(), "a refused plan is not executed")
			g.Expect(r.Count(ssa.ActionNotAttempted)).To(Equal(len(dp.Deletions())))
			if tc.why == ssa.PruneConfirm {
				digest = pb.Digest
			}
		})
	}
	g.Expect(e.rec.Count(isVerb("delete"))).To(BeZero())
	dp, err := e.m.PlanPrune(t.Context(), old, five, ssa.PruneOptions{Confirm: confirm, Budget: ssa.Budget{Count: 1}, Approved: digest})
	g.Expect(err).NotTo(HaveOccurred())
	dr, err := e.m.Delete(t.Context(), dp, ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dr.Count(ssa.ActionDeleted)).To(Equal(5))
	g.Expect(e.live(objects[0])).To(BeNil())
	g.Expect(e.live(objects[5])).NotTo(BeNil())
}

// SSA-84: each ground on which an object is spared, and what stays remembered.
func TestDeletionsThatAreSpared(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	var items []inventory.Item
	want := map[string]string{}
	stays := map[string]bool{}
	add := func(name, meta, decision string, stay bool) *unstructured.Unstructured {
		u := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: NS" + meta + "}\n")[0]
		items = append(items, inventory.Item{ID: ssa.IDOf(u), Version: "v1"})
		want["ConfigMap/"+name], stays[name] = decision, stay
		return u
	}
	ours := []*unstructured.Unstructured{
		add("plain", "", "delete NotListed", false),
		add("keep", ", annotations: {example.com/prune: Disabled}", "skip Kept", true),
		add("exclude", ", labels: {example.com/reconcile: disabled}", "skip Excluded", true),
		add("protected", "", "skip Protected", true),
		add("replaced", "", "skip Replaced", false),
		add("moved", "", "skip Moved", true),
	}
	foreign := add("foreign", "", "skip NotOwned", false)
	add("gone", "", "unchanged Gone", false)
	items = append(items, inventory.Item{ID: ssa.ID{Namespace: e.ns, Name: "w", Group: e.ns + ".example.com", Kind: "Widget"}, Version: "v1"}, inventory.Item{ID: ssa.ID{Name: "nonsense"}})
	want["Widget/w"], want["/nonsense"], stays["nonsense"] = "unchanged KindGone", "skip Unparsed", true
	want["Namespace/default"] = "skip NotOwned"
	items = append(items, inventory.Item{ID: ssa.ID{Name: "default", Kind: "Namespace"}, Version: "v1"})
	e.apply(ours, ssa.PlanOptions{})
	e.createAs("someone", foreign)
	for i := range items {
		if items[i].ID.Name == "replaced" {
			items[i].UID = "another"
		}
	}
	o := ssa.DeleteOptions{
		Keep: ssa.Selector{"example.com/prune": "disabled"}, Exclude: ssa.Selector{"example.com/reconcile": "disabled"},
		Protect: []ssa.Match{{Kind: "ConfigMap", Name: "prot.*"}},
		Claimed: func(_ ctxT, ids []ssa.ID) (map[ssa.ID]ssa.Owner, error) {
			return map[ssa.ID]ssa.Owner{{Namespace: e.ns, Name: "moved", Kind: "ConfigMap"}: {Name: "other"}}, nil
		},
	}
	dp, err := e.m.PlanDelete(t.Context(), inventory.NewSet(items...), o)
	g.Expect(err).NotTo(HaveOccurred())
	got := map[string]string{}
	for _, en := range dp.Entries {
		got[en.ID.Kind+"/"+en.ID.Name] = string(en.Decision) + " " + string(en.Why)
	}
	g.Expect(got).To(Equal(want))
	ledger := inventory.NewLedger(inventory.NewMemory(inventory.NewSet(items...)))
	o.Ledger = ledger
	r, err := e.m.Delete(t.Context(), dp, o)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.rec.Count(isVerb("delete"))).To(Equal(1))
	for it := range ledger.Set().Items() {
		g.Expect(stays[it.ID.Name]).To(BeTrue(), "%s must not be remembered", it.ID)
	}
	for name, stay := range stays {
		if stay {
			g.Expect(r.Inventory().Contains(ssa.ID{Namespace: e.ns, Name: name, Kind: "ConfigMap"}) || name == "nonsense").To(BeTrue(), name)
		}
	}
	// A failing claim function deletes nothing.
	o.Claimed = func(ctxT, []ssa.ID) (map[ssa.ID]ssa.Owner, error) { return nil, errInjected }
	e.apply(ours[:1], ssa.PlanOptions{})
	dp, err = e.m.PlanDelete(t.Context(), ids(t, ours[:1]), o)
	g.Expect(errors.Is(err, errInjected)).To(BeTrue())
	g.Expect(dp.Deletions()).To(BeEmpty())
}

// SSA-84, SSA-20, F14: what cannot be read is not deleted and stays.
func TestDeletionThatCannotBeJudged(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(configMaps(e.ns, 1) + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\n")
	old := e.apply(objects, ssa.PlanOptions{}).Inventory()
	for name, fault := range map[string]func(ssatestCall) error{
		"Discovery": func(c ssatestCall) error {
			if c.Verb == "resource" && c.Kind == "Secret" {
				return ssa.ErrDiscovery
			}
			return nil
		},
		"Read": func(c ssatestCall) error {
			if c.Kind == "Secret" && (c.Verb == "list" || c.Verb == "get") {
				return apierrors.NewInternalError(errInjected)
			}
			return nil
		},
		"Forbidden": func(c ssatestCall) error {
			if c.Kind == "Secret" && (c.Verb == "list" || c.Verb == "get") {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "s", errInjected)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			e.rec.Before(fault)
			defer e.rec.Before(nil)
			dp, err := e.m.PlanPrune(t.Context(), old, kept{inventory.Set{}, true}, ssa.PruneOptions{AllowEmpty: true})
			var de *ssa.DeleteError
			g.Expect(errors.As(err, &de)).To(BeTrue())
			g.Expect(de.Reason()).To(Equal("PruneFailed"))
			for _, en := range dp.Entries {
				if en.ID.Kind == "Secret" {
					g.Expect(en.Decision).To(Equal(ssa.DecisionBlocked))
				}
			}
		})
	}
	g.Expect(e.rec.Count(isVerb("delete"))).To(BeZero())
}

// SSA-91 (cli-utils#274): a namespace that holds objects of the set stays.
func TestNamespaceInUse(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects("apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-team}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: NS-team}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: b, namespace: NS-team}\n")
	old := e.apply(objects, ssa.PlanOptions{}).Inventory()
	uid, other := e.live(objects[1]).GetUID(), e.live(objects[2]).GetUID()
	r := e.apply(objects[1:], ssa.PlanOptions{})
	dp, err := e.m.PlanPrune(t.Context(), old, r, ssa.PruneOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dp.Entries).To(HaveLen(1))
	g.Expect(dp.Entries[0].Why).To(Equal(ssa.WhyInUse))
	dr, err := e.m.Delete(t.Context(), dp, ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dr.Inventory().Len()).To(Equal(1))
	g.Expect(e.live(objects[1]).GetUID()).To(Equal(uid))
	g.Expect(e.live(objects[2]).GetUID()).To(Equal(other))
	e.rec.Reset()
	dp, err = e.m.PlanPrune(t.Context(), old, kept{inventory.Set{}, true}, ssa.PruneOptions{AllowEmpty: true})
	g.Expect(err).NotTo(HaveOccurred())
	dr, err = e.m.Delete(t.Context(), dp, ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dr.Count(ssa.ActionDeleted)).To(Equal(3))
	var order []string
	for _, c := range e.rec.Calls() {
		if c.Verb == "delete" {
			order = append(order, c.Kind)
		}
	}
	g.Expect(order).To(Equal([]string{"Secret", "ConfigMap", "Namespace"}))
}

// SSA-85: an object that changes between plan and deletion is judged again.
func TestDeletionRacesAWriter(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(configMaps(e.ns, 2))
	r := e.apply(objects, ssa.PlanOptions{})
	dp, err := e.m.PlanDelete(t.Context(), r.Inventory(), ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	e.patch("x", objects[0], `[{"op":"add","path":"/data/x","value":"y"}]`)
	e.patch("x", objects[1], `[{"op":"add","path":"/metadata/annotations","value":{"keep":"yes"}}]`)
	dr, err := e.m.Delete(t.Context(), dp, ssa.DeleteOptions{Keep: ssa.Selector{"keep": "yes"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(actions(dr)).To(Equal(map[string]string{"ConfigMap/c0000": "deleted", "ConfigMap/c0001": "skipped"}))
	g.Expect(e.live(objects[1])).NotTo(BeNil())
}

// SSA-87: operator, definition and instance with a finalizer in one call.
func TestPhasedTeardown(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	objects := append(e.objects(crd(group, "")), e.objects("apiVersion: "+group+"/v1\nkind: Widget\nmetadata: {name: w, namespace: NS, finalizers: [example.com/operator]}\n---\n"+cm(""))...)
	r := e.apply(objects, ssa.PlanOptions{})
	e.rec.After(func(c ssatestCall) error { // the operator: clears the finalizer as long as it, the ConfigMap, exists
		if c.Verb == "delete" && c.Kind == "Widget" && e.live(objects[2]) != nil {
			e.patch("operator", objects[1], `[{"op":"remove","path":"/metadata/finalizers"}]`)
		}
		return nil
	})
	dp, err := e.m.PlanDelete(t.Context(), r.Inventory(), ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	e.rec.Reset()
	dr, err := e.m.Delete(t.Context(), dp, ssa.DeleteOptions{Phased: true, PhaseTimeout: 90 * time.Second})
	e.rec.After(nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dr.Count(ssa.ActionDeleted)).To(Equal(3))
	var order []string
	for _, c := range e.rec.Calls() {
		if c.Verb == "delete" {
			order = append(order, c.Kind)
		}
	}
	g.Expect(order).To(Equal([]string{"Widget", "ConfigMap", "CustomResourceDefinition"}))

	// Nobody clears it: what survives is named, the rest is not touched.
	objects[1].SetNamespace(e.ns)
	r = e.apply(objects, ssa.PlanOptions{})
	dp, err = e.m.PlanDelete(t.Context(), r.Inventory(), ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	dr, err = e.m.Delete(t.Context(), dp, ssa.DeleteOptions{Phased: true, PhaseTimeout: 3 * time.Second})
	var te *ssa.TerminatingError
	g.Expect(errors.As(err, &te)).To(BeTrue())
	g.Expect(strings.Join(te.Finalizers, " ")).To(ContainSubstring("example.com/operator"))
	g.Expect(actions(dr)).To(Equal(map[string]string{"Widget/w": "failed", "ConfigMap/c": "notAttempted", "CustomResourceDefinition/widgets." + group: "notAttempted"}))
	g.Expect(dr.Inventory().Len()).To(Equal(3))
	e.patch("operator", objects[1], `[{"op":"remove","path":"/metadata/finalizers"}]`)
	e.cleanup(objects)
}

// SSA-96 (kustomize-controller#192): copied labels do not make an object ours.
func TestRecover(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	r := e.apply(e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: NS}\n"), ssa.PlanOptions{})
	child := e.objects("apiVersion: v1\nkind: Service\nmetadata: {name: child, namespace: NS}\nspec: {ports: [{port: 80}]}\n")[0]
	child.SetLabels(e.owner.Labels())
	e.createAs("op", child)
	uid := e.live(child).GetUID()
	s, err := e.m.Recover(t.Context(), ssa.ParseKinds([]string{"/v1/Service", "/v1/ConfigMap", "none.example.com/v1/None"}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Equal(r.Inventory())).To(BeTrue())
	dp, err := e.m.PlanPrune(t.Context(), s, r, ssa.PruneOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dp.Entries).To(BeEmpty())
	g.Expect(e.live(child).GetUID()).To(Equal(uid))
}
