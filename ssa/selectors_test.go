// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"errors"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func cm(extra string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS" + extra + "}\ndata: {a: \"1\"}\n"
}

// SSA-21 (rules 4 and 5), SSA-50
func TestSelectors(t *testing.T) {
	sel := ssa.Selector{"example.com/ssa": "Ignore"}
	absent := ssa.Selector{"example.com/ssa": "IfNotPresent"}
	cases := map[string]struct {
		reason        string
		live, desired string // extra metadata; live "-" means no object
		o             ssa.PlanOptions
		want          string
	}{
		"DesiredAnnotation": {"the desired object decides", "", ", annotations: {example.com/ssa: Ignore}", ssa.PlanOptions{Exclude: sel}, "skip Excluded"},
		"DesiredLabel":      {"a label counts, too", "", ", labels: {example.com/ssa: ignore}", ssa.PlanOptions{Exclude: sel}, "skip Excluded"},
		"Live":              {"the live object decides", ", annotations: {example.com/ssa: IGNORE}", "", ssa.PlanOptions{Exclude: sel}, "skip Excluded"},
		"NewAndExcluded":    {"nothing is created", "-", ", annotations: {example.com/ssa: ignore}", ssa.PlanOptions{Exclude: sel}, "skip Excluded"},
		"OtherValue":        {"another value is no match", "", ", annotations: {example.com/ssa: merge}", ssa.PlanOptions{Exclude: sel}, "update Changed"},
		"EmptyValue":        {"an empty value matches nothing", "", ", annotations: {example.com/ssa: ''}", ssa.PlanOptions{Exclude: ssa.Selector{"example.com/ssa": ""}}, "update Changed"},
		"Present":           {"an existing object is left alone", "", ", annotations: {example.com/ssa: ifnotpresent}", ssa.PlanOptions{IfNotPresent: absent}, "skip Present"},
		"NotPresent":        {"a new one is created", "-", ", annotations: {example.com/ssa: IfNotPresent}", ssa.PlanOptions{IfNotPresent: absent}, "create Absent"},
		"ExcludeFirst":      {"rule 4 comes before rule 5", "", ", annotations: {example.com/ssa: Ignore}", ssa.PlanOptions{Exclude: sel, IfNotPresent: ssa.Selector{"example.com/ssa": "ignore"}}, "skip Excluded"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, ssa.Options{})
			if tc.live != "-" {
				e.applyAs("someone", e.objects(cm(tc.live))[0])
			}
			desired := e.objects(cm(tc.desired))
			p := e.plan(desired, tc.o)
			e.g.Expect(decisions(p)["ConfigMap/c"]).To(Equal(tc.want), tc.reason)
			r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
			e.g.Expect(err).NotTo(HaveOccurred())
			if tc.want[:4] == "skip" {
				e.g.Expect(e.rec.Writes()).To(BeZero(), tc.reason)
				exists := 1
				if tc.live == "-" {
					exists = 0 // nothing was made, so nothing is to be remembered
				}
				e.g.Expect(r.Inventory().Len()).To(Equal(exists))
			}
		})
	}
}

// SSA-21 (rule 3), SSA-25: an object that cannot be read is never overwritten.
func TestUnreadableIsBlocked(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	e.applyAs("someone", e.objects(cm(", annotations: {example.com/ssa: Ignore}"))[0])
	desired := e.objects(cm(""))
	e.rec.Before(func(c ssatestCall) error {
		if c.Verb == "get" {
			return apierrors.NewInternalError(errors.New("injected"))
		}
		return nil
	})
	p, err := e.m.Plan(t.Context(), desired, ssa.PlanOptions{Exclude: ssa.Selector{"example.com/ssa": "ignore"}})
	g.Expect(decisions(p)["ConfigMap/c"]).To(Equal("blocked LiveUnreadable"))
	var oe *ssa.ObjectError
	g.Expect(errors.As(err, &oe)).To(BeTrue())
	g.Expect(oe.Op).To(Equal(ssa.OpRead))
	g.Expect(oe.Terminal()).To(BeFalse())
	_, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{ContinueOnError: true})
	g.Expect(err).To(HaveOccurred())
	g.Expect(e.rec.Writes()).To(BeZero())
}

// SSA-21 (rule 6), SSA-64
func TestOtherOwner(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	other := e.owner
	other.Name = "first"
	first := e.manager(ssa.Options{Owner: other})
	objects := e.objects(cm(""))
	p, err := first.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = first.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())

	_, err = e.m.Plan(t.Context(), objects, ssa.PlanOptions{FailOnOtherOwner: true})
	var oc *ssa.OwnerConflictError
	g.Expect(errors.As(err, &oc)).To(BeTrue())
	g.Expect(oc.Other.Name).To(Equal("first"))
	gone := func(ctxT, ssa.Owner) (bool, error) { return false, nil }
	p = e.plan(objects, ssa.PlanOptions{FailOnOtherOwner: true, OwnerExists: gone})
	g.Expect(p.Entries[0].Other.Name).To(Equal("first"))
	g.Expect(p.Entries[0].Decision).To(Equal(ssa.DecisionUpdate))
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	uid := e.live(objects[0]).GetUID()
	g.Expect(e.live(objects[0]).GetLabels()).To(HaveKeyWithValue("test.gitops-kit.github.io/name", e.ns))

	// SSA-91: the first owner's prune does not touch what has moved.
	p, err = first.Plan(t.Context(), nil, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	dp, err := first.PlanPrune(t.Context(), r.Inventory(), p, ssa.PruneOptions{AllowEmpty: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dp.Deletions()).To(BeEmpty())
	g.Expect(dp.Entries[0].Why).To(Equal(ssa.WhyNotOwned))
	dr, err := first.Delete(t.Context(), dp, ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dr.Inventory().Len()).To(BeZero())
	g.Expect(e.live(objects[0]).GetUID()).To(Equal(uid))
}

// SSA-24
func TestFailOnConflict(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	e.applyAs("someone", e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS}\ndata: {a: \"2\"}\n")[0])
	_, err := e.m.Plan(t.Context(), e.objects(cm("")), ssa.PlanOptions{FailOnConflict: true})
	var c *ssa.ConflictError
	e.g.Expect(errors.As(err, &c)).To(BeTrue())
	e.g.Expect(errors.Is(err, ssa.ErrConflict)).To(BeTrue())
	e.g.Expect(c.Manager).To(Equal("someone"))
	e.g.Expect(c.Fields).To(ConsistOf(".data.a"))
}
