// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	"github.com/gitops-kit/sdk/testserver/kube"
	. "github.com/onsi/gomega"
)

// TestRestartedServer needs a control plane of its own; its parts share one.
func TestRestartedServer(t *testing.T) {
	t.Parallel()
	plane := kube.Private(t, kube.Options{})
	t.Run("MidApply", func(t *testing.T) { restartMidApply(t, plane) })
	t.Run("Compacted", func(t *testing.T) { compacted(t, plane) })
}

// F1, SSA-104, SSA-107: the API server is restarted after the k-th write. What
// was written is reported and recorded, what failed is transient, nothing is
// pruned, and the next run finishes.
func restartMidApply(t *testing.T, plane *kube.Cluster) {
	const n = 24
	for _, k := range []int{1, n / 2} {
		e := newEnvOn(t, plane, ssa.Options{})
		g := e.g
		stale := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stale, namespace: NS}\n")
		old := e.apply(stale, ssa.PlanOptions{}).Inventory()
		ledger := inventory.NewLedger(inventory.NewMemory(old))
		objects := e.objects(configMaps(e.ns, n))
		p := e.plan(objects, ssa.PlanOptions{})
		var mu sync.Mutex
		writes, done := 0, make(chan error, 1)
		e.rec.After(func(c ssatestCall) error {
			mu.Lock()
			defer mu.Unlock()
			if c.Verb == "apply" && !c.DryRun {
				if writes++; writes == k {
					go func() { done <- plane.Restart() }()
				}
			}
			return nil
		})
		r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{Ledger: ledger})
		g.Expect(<-done).NotTo(HaveOccurred())
		e.rec.After(nil)
		var ae *ssa.ApplyError
		if err != nil {
			g.Expect(errors.As(err, &ae)).To(BeTrue(), "%v", err)
			g.Expect(ae.Terminal()).To(BeFalse())
			_, err = e.m.PlanPrune(t.Context(), old, r, ssa.PruneOptions{})
			var pb *ssa.PruneBlockedError
			g.Expect(errors.As(err, &pb)).To(BeTrue(), "%v", err)
		}
		have := e.present(n)
		for _, o := range r.Outcomes {
			switch o.Action {
			case ssa.ActionCreated:
				g.Expect(have).To(HaveKey(o.ID.Name))
			case ssa.ActionNotAttempted:
				g.Expect(have).NotTo(HaveKey(o.ID.Name))
			default: // failed before it was sent, or unknown
			}
		}
		for name := range have {
			g.Expect(sortedNames(ledger.Set())).To(ContainElement(name))
		}
		g.Expect(e.live(stale[0])).NotTo(BeNil())

		r, err = e.m.Apply(t.Context(), e.plan(objects, ssa.PlanOptions{}), ssa.ApplyOptions{Ledger: ledger})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.Complete()).To(BeTrue())
		g.Expect(e.present(n)).To(HaveLen(n + 1))
		for _, o := range objects {
			g.Expect(e.live(o).GetGeneration()).To(BeNumerically("<=", 1))
		}
		dp, err := e.m.PlanPrune(t.Context(), ledger.Set(), r, ssa.PruneOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = e.m.Delete(t.Context(), dp, ssa.DeleteOptions{Ledger: ledger})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(e.live(stale[0])).To(BeNil())
		g.Expect(ledger.Set().Len()).To(Equal(n))
	}
}

// F7, SSA-76: a watch that is too old for the server lists again, and sees
// what was deleted meanwhile.
func compacted(t *testing.T, plane *kube.Cluster) {
	e := newEnvOn(t, plane, ssa.Options{})
	g := e.g
	objects := e.objects(configMaps(e.ns, 2))
	r := e.apply(objects, ssa.PlanOptions{})
	listed, compact := make(chan struct{}), make(chan struct{})
	var once sync.Once
	e.rec.Before(func(c ssatestCall) error {
		if c.Verb == "watch" {
			once.Do(func() { close(listed); <-compact })
		}
		return nil
	})
	w := e.m.StartWait(t.Context(), r.Targets(), ssa.WaitOptions{Gone: true, Timeout: -1})
	defer w.Stop()
	<-listed
	e.remove(e.live(objects[0]))
	e.remove(e.live(objects[1]))
	g.Expect(plane.Compact()).To(Succeed())
	close(compact)
	g.Eventually(w.Done(), "90s").Should(BeClosed())
	g.Expect(w.Err()).NotTo(HaveOccurred())
	g.Expect(e.rec.Count(func(c ssatestCall) bool { return c.Verb == "list" && c.Kind == "ConfigMap" && !c.Metadata })).To(BeNumerically(">=", 3))
}
