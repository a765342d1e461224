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
)

// SSA-89, SSA-90: a plan that is not wholly judged is held to the guards, too,
// for whoever executes it all the same.
func TestGuardsOfAPlanWithErrors(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(configMaps(e.ns, 5) + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\n")
	objects[0].SetAnnotations(map[string]string{"example.com/prune": "confirm"})
	old := e.apply(objects, ssa.PlanOptions{}).Inventory()
	e.rec.Before(func(c ssatestCall) error {
		if c.Kind == "Secret" && (c.Verb == "list" || c.Verb == "get") {
			return apierrors.NewInternalError(errInjected)
		}
		return nil
	})
	one := kept{ids(t, objects[4:5]), true}
	for name, tc := range map[string]struct {
		kept ssa.Kept
		o    ssa.PruneOptions
		why  string
	}{
		"Budget":  {one, ssa.PruneOptions{Budget: ssa.Budget{Count: 1}}, ssa.PruneBudget},
		"Confirm": {one, ssa.PruneOptions{Confirm: ssa.Selector{"example.com/prune": "confirm"}}, ssa.PruneConfirm},
		"Empty":   {kept{inventory.Set{}, true}, ssa.PruneOptions{}, ssa.PruneEmpty},
	} {
		dp, err := e.m.PlanPrune(t.Context(), old, tc.kept, tc.o)
		var de *ssa.DeleteError
		g.Expect(errors.As(err, &de)).To(BeTrue(), "%s: %v", name, err)
		g.Expect(dp.Deletions()).NotTo(BeEmpty())
		_, err = e.m.Delete(t.Context(), dp, ssa.DeleteOptions{})
		var pb *ssa.PruneBlockedError
		g.Expect(errors.As(err, &pb)).To(BeTrue(), "%s: %v", name, err)
		g.Expect(pb.Why).To(Equal(tc.why))
	}
	g.Expect(e.rec.Count(isVerb("delete"))).To(BeZero())
}

// SSA-84, SSA-90, SSA-91: a namespace or definition that holds something that is
// spared stays: deleting it would delete that, too.
func TestHoldersOfWhatIsSpared(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	var text string
	for _, ns := range []string{"keep", "exclude", "protect", "moved", "other", "blocked", "free"} {
		text += "apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-" + ns + "}\n---\n"
	}
	text += `
apiVersion: v1
kind: ConfigMap
metadata: {name: keep, namespace: NS-keep, annotations: {example.com/prune: disabled}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: exclude, namespace: NS-exclude, labels: {example.com/reconcile: disabled}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: protect, namespace: NS-protect}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: moved, namespace: NS-moved}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other, namespace: NS-other}
---
apiVersion: v1
kind: Secret
metadata: {name: blocked, namespace: NS-blocked}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: free, namespace: NS-free}
---
apiVersion: ` + group + `/v1
kind: Widget
metadata: {name: w, namespace: NS, annotations: {example.com/prune: disabled}}
`
	objects := append(e.objects(crd(group, "")), e.objects(text)...)
	t.Cleanup(func() { e.rec.Before(nil); e.cleanup(objects) })
	old := e.apply(objects, ssa.PlanOptions{}).Inventory()
	other := e.manager(ssa.Options{Owner: ssa.Owner{FieldManager: "other", LabelGroup: e.owner.LabelGroup, Name: e.ns + "-other", Namespace: "sets"}})
	for _, o := range objects {
		if o.GetName() == "other" {
			p, err := other.Plan(t.Context(), e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, namespace: NS-other}\n"), ssa.PlanOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = other.Apply(t.Context(), p, ssa.ApplyOptions{})
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
	e.rec.Before(func(c ssatestCall) error {
		if c.Kind == "Secret" && (c.Verb == "list" || c.Verb == "get") {
			return apierrors.NewInternalError(errInjected)
		}
		return nil
	})
	o := ssa.DeleteOptions{
		Keep: ssa.Selector{"example.com/prune": "disabled"}, Exclude: ssa.Selector{"example.com/reconcile": "disabled"},
		Protect: []ssa.Match{{Kind: "ConfigMap", Name: "protect"}},
		Claimed: func(context.Context, []ssa.ID) (map[ssa.ID]ssa.Owner, error) {
			return map[ssa.ID]ssa.Owner{{Namespace: e.ns + "-moved", Name: "moved", Kind: "ConfigMap"}: {Name: "third"}}, nil
		},
	}
	dp, err := e.m.PlanDelete(t.Context(), old, o)
	var de *ssa.DeleteError
	g.Expect(errors.As(err, &de)).To(BeTrue(), "the Secret cannot be judged: %v", err)
	got := map[string]string{}
	for _, en := range dp.Entries {
		got[en.ID.Kind+"/"+en.ID.Name] = string(en.Decision) + " " + string(en.Why)
	}
	want := map[string]string{
		"ConfigMap/keep": "skip Kept", "ConfigMap/exclude": "skip Excluded", "ConfigMap/protect": "skip Protected", "ConfigMap/moved": "skip Moved",
		"ConfigMap/other": "skip NotOwned", "Secret/blocked": "blocked ", "ConfigMap/free": "delete NotListed", "Namespace/" + e.ns + "-free": "delete NotListed",
		"Widget/w": "skip Kept", "CustomResourceDefinition/widgets." + group: "skip InUse",
	}
	for _, ns := range []string{"keep", "exclude", "protect", "moved", "other", "blocked"} {
		want["Namespace/"+e.ns+"-"+ns] = "skip InUse"
	}
	g.Expect(got).To(Equal(want))
	res, err := e.m.Delete(t.Context(), dp, o)
	g.Expect(err).To(HaveOccurred())
	g.Expect(res.Count(ssa.ActionDeleted)).To(Equal(2))
	for i := range objects {
		name := objects[i].GetName()
		if name == "free" || name == e.ns+"-free" || name == "blocked" {
			continue
		}
		u := e.live(objects[i])
		g.Expect(u).NotTo(BeNil(), name)
		g.Expect(u.GetDeletionTimestamp()).To(BeNil(), name)
		if objects[i].GetKind() == "Namespace" {
			g.Expect(res.Inventory().Contains(ssa.IDOf(objects[i]))).To(BeTrue(), name)
		}
	}
}

// SSA-85: an object that is marked between plan and deletion is spared by the
// options of the plan as well as by those of the deletion, and its namespace with it.
func TestMarkedSincePlan(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects("apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: NS-a}\n---\n" +
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-b}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: NS-b}\n---\n" +
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-c}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS-c}\n")
	t.Cleanup(func() { e.cleanup(objects) })
	old := e.apply(objects, ssa.PlanOptions{}).Inventory()
	dp, err := e.m.PlanPrune(t.Context(), old, kept{inventory.Set{}, true}, ssa.PruneOptions{
		DeleteOptions: ssa.DeleteOptions{Keep: ssa.Selector{"example.com/prune": "disabled"}},
		Confirm:       ssa.Selector{"example.com/prune": "confirm"}, AllowEmpty: true,
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dp.Deletions()).To(HaveLen(6))
	for i, value := range map[int]string{1: "disabled", 3: "confirm", 5: "whatever"} {
		e.patch("user", objects[i], `[{"op":"add","path":"/metadata/annotations","value":{"example.com/prune":"`+value+`"}}]`)
	}
	res, err := e.m.Delete(t.Context(), dp, ssa.DeleteOptions{})
	var pb *ssa.PruneBlockedError
	g.Expect(errors.As(err, &pb)).To(BeTrue(), "%v", err)
	g.Expect(pb.Why).To(Equal(ssa.PruneConfirm))
	g.Expect(pb.IDs).To(ConsistOf(ssa.IDOf(objects[3])))
	g.Expect(actions(res)).To(Equal(map[string]string{
		"ConfigMap/a": "skipped", "Namespace/" + e.ns + "-a": "skipped", "ConfigMap/b": "failed", "Namespace/" + e.ns + "-b": "skipped",
		"ConfigMap/c": "deleted", "Namespace/" + e.ns + "-c": "deleted",
	}))
	for _, o := range objects[:4] {
		u := e.live(o)
		g.Expect(u).NotTo(BeNil())
		g.Expect(u.GetDeletionTimestamp()).To(BeNil())
		g.Expect(res.Inventory().Contains(ssa.IDOf(o))).To(BeTrue())
	}
}

// SSA-21: what is created only where there is none is left alone also when
// somebody made it since the plan.
func TestMadeSincePlan(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	o := ssa.PlanOptions{IfNotPresent: ssa.Selector{"example.com/ssa": "IfNotPresent"}}
	objects := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made, namespace: NS, annotations: {example.com/ssa: IfNotPresent}}\ndata: {a: ours}\n---\n" +
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new, namespace: NS, annotations: {example.com/ssa: IfNotPresent}}\ndata: {a: ours}\n")
	p := e.plan(objects, o)
	g.Expect(decisions(p)).To(Equal(map[string]string{"ConfigMap/made": "create Absent", "ConfigMap/new": "create Absent"}))
	e.createAs("someone", e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made, namespace: NS}\ndata: {a: theirs}\n")[0])
	rv := e.live(objects[0]).GetResourceVersion()
	res, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(actions(res)).To(Equal(map[string]string{"ConfigMap/made": "skipped", "ConfigMap/new": "created"}))
	out, _ := res.Outcome(ssa.IDOf(objects[0]))
	g.Expect(out.Why).To(Equal(ssa.WhyPresent))
	g.Expect(e.live(objects[0]).GetResourceVersion()).To(Equal(rv))
}

// headOf is a head that somebody else may write.
type headOf struct{ h *ssa.InventoryHead }

func (h *headOf) LoadHead(context.Context) (*ssa.InventoryHead, string, error) { return h.h, "1", nil }

func (h *headOf) SaveHead(_ context.Context, n *ssa.InventoryHead, _ string) (string, error) {
	h.h = n
	return "1", nil
}

// SSA-95: a head that names other Secrets makes nobody read or remove them.
func TestForeignChunks(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	precious := e.objects("apiVersion: v1\nkind: Secret\nmetadata: {name: precious, namespace: NS}\nstringData: {entries: x}\n")[0]
	e.createAs("user", precious)
	head := &headOf{&ssa.InventoryHead{Format: "v2", Digest: "sha256:x", Entries: 1, Chunks: []string{"precious"}}}
	s, err := ssa.NewSecretStore(e.rec, ssa.SecretStoreOptions{Namespace: e.ns, UID: "u1", Head: head})
	g.Expect(err).NotTo(HaveOccurred())
	e.rec.Reset()
	_, _, err = s.Load(t.Context())
	g.Expect(errors.Is(err, inventory.ErrCorrupt)).To(BeTrue(), "%v", err)
	g.Expect(e.rec.Count(isVerb("get"))).To(BeZero())
	_, err = s.Save(t.Context(), inventory.NewSet(inventory.Item{ID: ssa.ID{Namespace: e.ns, Name: "a", Kind: "ConfigMap"}, Version: "v1"}), "1")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.live(precious)).NotTo(BeNil())
	g.Expect(e.rec.Count(isVerb("delete"))).To(BeZero())
	set, _, err := s.Load(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(set.Len()).To(Equal(1))
}

// SSA-85, SSA-91: an object that another set claims between plan and deletion
// is spared when it turns out to have changed; so is one of which the claims
// cannot be read.
func TestClaimedSincePlan(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		claimed map[string]bool
		err     error
		want    string
	}{
		"Claimed":    {map[string]bool{"c": true}, nil, "skipped Moved"},
		"Unreadable": {nil, errInjected, "failed NotListed"},
		"Nobody":     {nil, nil, "deleted NotListed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, ssa.Options{})
			g := e.g
			objects := e.objects(cm(""))
			t.Cleanup(func() { e.cleanup(objects) })
			old := e.apply(objects, ssa.PlanOptions{}).Inventory()
			later := false
			o := ssa.DeleteOptions{Claimed: func(_ context.Context, ids []ssa.ID) (map[ssa.ID]ssa.Owner, error) {
				if !later {
					return nil, nil //nolint:nilnil // nothing is claimed
				}
				out := map[ssa.ID]ssa.Owner{}
				for _, id := range ids {
					if tc.claimed[id.Name] {
						out[id] = ssa.Owner{Name: "other"}
					}
				}
				return out, tc.err
			}}
			dp, err := e.m.PlanPrune(t.Context(), old, kept{inventory.Set{}, true}, ssa.PruneOptions{DeleteOptions: o, AllowEmpty: true})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(dp.Deletions()).To(HaveLen(1))
			e.patch("user", objects[0], `[{"op":"add","path":"/metadata/annotations","value":{"touched":"yes"}}]`)
			later = true
			res, err := e.m.Delete(t.Context(), dp, o)
			g.Expect(err != nil).To(Equal(tc.err != nil), "%v", err)
			g.Expect(errors.Is(err, tc.err)).To(BeTrue())
			g.Expect(string(res.Outcomes[0].Action) + " " + string(res.Outcomes[0].Why)).To(Equal(tc.want))
			deleted := res.Outcomes[0].Action == ssa.ActionDeleted
			g.Expect(e.live(objects[0]) == nil).To(Equal(deleted))
			g.Expect(res.Inventory().Contains(ssa.IDOf(objects[0]))).To(Equal(!deleted))
		})
	}
}
