// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	"github.com/gitops-kit/sdk/ssa/ssatest"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

const maxStored = 900 << 10 // bytes of one stored object

// storedSizes returns the size of every Secret of the owner in the form in
// which the server stores it.
func (e *env) storedSizes(uid string) map[string]int {
	e.t.Helper()
	cfg := config(e.t)
	c, err := rest.HTTPClientFor(cfg)
	e.g.Expect(err).NotTo(HaveOccurred())
	out := map[string]int{}
	o := ssa.ListOptions{Namespace: e.ns, LabelSelector: "gitops-kit.github.io/owner-uid=" + uid, MetadataOnly: true}
	for u, err := range e.cluster.List(e.t.Context(), e.resource("", "v1", "Secret"), o) {
		e.g.Expect(err).NotTo(HaveOccurred())
		req, err := http.NewRequestWithContext(e.t.Context(), http.MethodGet, cfg.Host+"/api/v1/namespaces/"+e.ns+"/secrets/"+u.GetName(), nil)
		e.g.Expect(err).NotTo(HaveOccurred())
		req.Header.Set("Accept", "application/vnd.kubernetes.protobuf")
		resp, err := c.Do(req)
		e.g.Expect(err).NotTo(HaveOccurred())
		b, err := io.ReadAll(resp.Body)
		e.g.Expect(errors.Join(err, resp.Body.Close())).To(Succeed())
		e.g.Expect(resp.StatusCode).To(Equal(http.StatusOK))
		out[u.GetName()] = len(b)
	}
	return out
}

// incompressible is a set of n ids whose names no compression makes small.
func incompressible(ns, salt string, n int) inventory.Set {
	items := make([]inventory.Item, n)
	for i := range items {
		sum := sha256.Sum256(fmt.Append(nil, salt, i))
		items[i] = inventory.Item{ID: inventory.ID{Namespace: ns, Name: "o-" + hex.EncodeToString(sum[:20]), Kind: "ConfigMap"}, Version: "v1"}
	}
	return inventory.NewSet(items...)
}

// SSA-92, SSA-94, SSA-95: 50,000 ids on the API server: several chunks, none
// of them above 900 KiB as stored; changed, contended, pruned to a few.
func TestSecretStoreHolds50000(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	open := func() *ssa.SecretStore {
		s, err := ssa.NewSecretStore(e.rec, ssa.SecretStoreOptions{Namespace: e.ns, UID: "big"})
		g.Expect(err).NotTo(HaveOccurred())
		return s
	}
	s := open()
	set := incompressible(e.ns, "a", 50_000)
	first, err := s.Save(t.Context(), set, "")
	g.Expect(err).NotTo(HaveOccurred())
	sizes := e.storedSizes("big")
	g.Expect(len(sizes)).To(BeNumerically(">", 2), "a head and several chunks")
	g.Expect(e.rec.Writes()).To(Equal(len(sizes)), "one request each")
	for name, n := range sizes {
		g.Expect(n).To(BeNumerically("<=", maxStored), name)
	}
	for _, c := range e.chunks("big") {
		g.Expect(c.Object["immutable"]).To(BeTrue())
	}
	got, v, err := open().Load(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(v).To(Equal(first))
	g.Expect(got.Equal(set)).To(BeTrue())

	// What is there is not written again.
	writes := e.rec.Writes()
	v, err = s.Save(t.Context(), set.Clone(), first)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(v).To(Equal(first))
	g.Expect(e.rec.Writes()).To(Equal(writes))

	// A change: the chunks of before are gone.
	changed := set.Minus(inventory.NewSet(firstItems(set, 100)...)).Union(incompressible(e.ns, "b", 100))
	second, err := s.Save(t.Context(), changed, first)
	g.Expect(err).NotTo(HaveOccurred())
	for name := range e.storedSizes("big") {
		if _, old := sizes[name]; old {
			g.Expect(name).To(HaveSuffix("-head"))
		}
	}

	// Somebody who has not seen it changes nothing.
	_, err = open().Save(t.Context(), inventory.NewSet(firstItems(set, 3)...), first)
	g.Expect(errors.Is(err, inventory.ErrConflict)).To(BeTrue())
	got, v, err = open().Load(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(v).To(Equal(second))
	g.Expect(got.Equal(changed)).To(BeTrue())

	// A prune leaves a few ids, and the chunk of the one who lost, which is
	// too young to be swept.
	few := inventory.NewSet(firstItems(changed, 5)...)
	_, err = s.Save(t.Context(), few, second)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.chunks("big")).To(HaveLen(2))
	n, err := s.Sweep(t.Context(), false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(n).To(BeZero())
	got, _, err = open().Load(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got.Equal(few)).To(BeTrue())
	n, err = s.Sweep(t.Context(), true)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(n).To(Equal(3))
	g.Expect(e.storedSizes("big")).To(BeEmpty())
	_, err = ssa.NewSecretStore(e.cluster, ssa.SecretStoreOptions{Namespace: e.ns})
	g.Expect(errors.Is(err, ssa.ErrInvalidObject)).To(BeTrue())
}

func firstItems(s inventory.Set, n int) []inventory.Item {
	var out []inventory.Item
	for it := range s.Items() {
		if len(out) == n {
			break
		}
		out = append(out, it)
	}
	return out
}

// stopwatch logs what a step took, for readers of a long run.
func stopwatch(t *testing.T, step string, started time.Time, r ssa.Requests) {
	t.Helper()
	peak := "?"
	if b, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				peak = strings.TrimSpace(v)
			}
		}
	}
	t.Logf("%-28s %8.1fs  peak %s  %+v", step, time.Since(started).Seconds(), peak, r)
}

// SSA-89, SSA-92, SSA-93, SSA-100: a set of 50,000 objects (300 where the
// time is short) applied and pruned to ten through the Manager, with its
// inventory on the server: the requests that the work takes and no more, no
// object left behind, no stored object above 900 KiB.
func TestApplyAndPrune50000(t *testing.T) {
	n := 300
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		n = 50_000
	}
	e := newEnv(t, ssa.Options{})
	g, ctx := e.g, t.Context()
	var mu sync.Mutex
	wire := map[string]int{}
	c, err := ssa.NewCluster(config(t), ssa.ClusterOptions{Observe: func(r ssa.RequestInfo) {
		mu.Lock()
		defer mu.Unlock()
		if r.Resource.GVK.Kind == "ConfigMap" && r.Attempt == 1 {
			verb := r.Verb
			if r.DryRun {
				verb += " dry-run"
			}
			wire[verb]++
		}
	}})
	g.Expect(err).NotTo(HaveOccurred())
	m, err := ssa.NewManager(c, ssa.Options{Owner: e.owner, Limits: ssa.Limits{Objects: -1}})
	g.Expect(err).NotTo(HaveOccurred())
	store, err := ssa.NewSecretStore(c, ssa.SecretStoreOptions{Namespace: e.ns, UID: "scale"})
	g.Expect(err).NotTo(HaveOccurred())
	ledger := func() *inventory.Ledger { return inventory.NewLedger(store) }
	objects := make([]*unstructured.Unstructured, n)
	for i := range objects {
		sum := sha256.Sum256(fmt.Append(nil, "scale", i))
		objects[i] = &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"a": "b"},
			"metadata": map[string]any{"name": "c-" + hex.EncodeToString(sum[:20]), "namespace": e.ns},
		}}
	}

	take := func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		out := wire
		wire = map[string]int{}
		return out
	}
	// The server sees only with the next page that nothing matching is left.
	listed := Or(Equal(map[string]int{"list": (n + 499) / 500}), Equal(map[string]int{"list": n/500 + 1}))

	at := time.Now()
	p, err := m.Plan(ctx, objects, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	stopwatch(t, "plan of the first apply", at, p.Requests)
	g.Expect(take()).To(Equal(map[string]int{"list": 1 + 1, "apply dry-run": n}), "by label, then what exists at all")
	at = time.Now()
	r, err := m.Apply(ctx, p, ssa.ApplyOptions{Ledger: ledger(), MaxPlanAge: 24 * time.Hour})
	g.Expect(err).NotTo(HaveOccurred())
	stopwatch(t, "first apply", at, r.Requests)
	g.Expect(take()).To(Equal(map[string]int{"apply": n}))
	g.Expect(r.Count(ssa.ActionCreated)).To(Equal(n))
	for name, size := range e.storedSizes("scale") {
		t.Logf("%-28s %d bytes stored", name, size)
		g.Expect(size).To(BeNumerically("<=", maxStored), name)
	}

	at = time.Now()
	p, err = m.Plan(ctx, objects, ssa.PlanOptions{VerifyEvery: 1 << 30})
	g.Expect(err).NotTo(HaveOccurred())
	stopwatch(t, "plan of no change", at, p.Requests)
	g.Expect(take()).To(listed)

	const left = 10
	p, err = m.Plan(ctx, objects[:left], ssa.PlanOptions{VerifyEvery: 1 << 30})
	g.Expect(err).NotTo(HaveOccurred())
	l := ledger()
	r, err = m.Apply(ctx, p, ssa.ApplyOptions{Ledger: l})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Count(ssa.ActionUnchanged)).To(Equal(left))
	g.Expect(l.Set().Len()).To(Equal(n), "nothing is forgotten before it is pruned")
	g.Expect(take()).To(listed)
	at = time.Now()
	dp, err := m.PlanPrune(ctx, l.Set(), r, ssa.PruneOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	stopwatch(t, "plan of the prune", at, dp.Requests)
	g.Expect(take()).To(listed)
	g.Expect(dp.Deletions()).To(HaveLen(n - left))
	at = time.Now()
	r, err = m.Delete(ctx, dp, ssa.DeleteOptions{Ledger: l})
	g.Expect(err).NotTo(HaveOccurred())
	stopwatch(t, "prune", at, r.Requests)
	g.Expect(take()).To(Equal(map[string]int{"delete": n - left}))

	stored, _, err := store.Load(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	var kept, live []string
	for it := range stored.Items() {
		kept = append(kept, it.ID.Name)
	}
	selector := e.owner.LabelGroup + "/name=" + e.owner.Name
	for u, err := range c.List(ctx, e.resource("", "v1", "ConfigMap"), ssa.ListOptions{Namespace: e.ns, LabelSelector: selector, MetadataOnly: true}) {
		g.Expect(err).NotTo(HaveOccurred())
		live = append(live, u.GetName())
	}
	var want []string
	for _, u := range objects[:left] {
		want = append(want, u.GetName())
	}
	g.Expect(kept).To(ConsistOf(want))
	g.Expect(live).To(ConsistOf(want))
	g.Expect(e.chunks("scale")).To(HaveLen(1))
}

// SSA-17, SSA-100: what waited for its namespace is read by LISTs, too.
func TestDeferredObjectsAreReadTogether(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	const n = 40
	objects := e.objects("apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-new}\n" + configMaps("NS-new", n))
	t.Cleanup(func() { e.cleanup(objects[:1]) })
	p := e.plan(objects, ssa.PlanOptions{})
	g.Expect(decisions(p)).To(HaveKeyWithValue("ConfigMap/c0000", "deferred NewNamespace"))
	e.rec.Reset()
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Count(ssa.ActionCreated)).To(Equal(n + 1))
	g.Expect(r.Requests).To(Equal(ssa.Requests{List: 1, MetadataList: 1, DryRun: n, Patch: n + 1}))
	count := func(verb string, dryRun bool) int {
		return e.rec.Count(func(c ssatest.Call) bool { return c.Kind == "ConfigMap" && c.Verb == verb && c.DryRun == dryRun })
	}
	g.Expect(count("list", false)).To(Equal(2))
	g.Expect(count("get", false)).To(BeZero())
	g.Expect(count("apply", true)).To(Equal(n))
	g.Expect(count("apply", false)).To(Equal(n))
}
