// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dependency_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/dependency"
	. "github.com/onsi/gomega"
)

func ref(name string) dependency.Ref {
	return dependency.Ref{Kind: "App", Namespace: "ns", Name: name}
}

func refs(names ...string) (out []dependency.Ref) {
	for _, n := range names {
		out = append(out, ref(n))
	}
	return out
}

// RT-114, KUS-11, KUS-14
func TestReady(t *testing.T) {
	down := errors.New("api down")
	states := map[string]dependency.State{
		"ready": {Ready: true, Generation: 2, ObservedGeneration: 2, Source: "s", Revision: "r2"}, "stale": {Ready: true, Generation: 2, ObservedGeneration: 1},
		"failed": {Generation: 1, ObservedGeneration: 1}, "behind": {Ready: true, Generation: 1, ObservedGeneration: 1, Source: "s", Revision: "r1"},
		"other": {Ready: true, Generation: 1, ObservedGeneration: 1, Source: "other", Revision: "r1"},
	}
	synced := true
	tr := dependency.New(dependency.Options{Synced: func() bool { return synced }, Read: func(_ context.Context, r dependency.Ref) (dependency.State, error) {
		if r.Name == "error" {
			return dependency.State{}, down
		}
		s, ok := states[r.Name]
		if !ok {
			return s, fmt.Errorf("app %q: %w", r.Name, fs.ErrNotExist)
		}
		return s, nil
	}})
	self := dependency.Self{Ref: ref("self"), Source: "s", Revision: "r2"}
	for name, want := range map[string]string{
		"ready": "", "other": "", "stale": "dependency 'ns/stale' is not ready", "failed": "dependency 'ns/failed' is not ready",
		"behind": "dependency 'ns/behind' revision is not up to date", "missing": `dependency 'ns/missing' not found: app "missing": file does not exist`,
	} {
		g := NewWithT(t)
		ok, why, err := tr.Ready(t.Context(), self, ref(name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(ok).To(Equal(want == ""), name)
		g.Expect(why).To(Equal(want))
	}
	g := NewWithT(t)
	_, _, err := tr.Ready(t.Context(), self, ref("error"))
	g.Expect(errors.Is(err, down)).To(BeTrue())
	synced = false
	ok, _, err := tr.Ready(t.Context(), self, ref("ready"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ok).To(BeFalse(), "nothing is ready until caches are synced")
}

// RT-115: cycles appear and vanish; each member is told.
func TestCycles(t *testing.T) {
	g := NewWithT(t)
	tr := dependency.New(dependency.Options{})
	g.Expect(tr.Set(ref("a"), refs("b", "x"), false)).To(BeEmpty())
	g.Expect(tr.Set(ref("b"), refs("c"), false)).To(BeEmpty())
	g.Expect(tr.Cycle(ref("a"))).To(Succeed())
	g.Expect(tr.Set(ref("c"), refs("a"), false)).To(Equal(refs("a", "b")))
	for _, r := range refs("a", "b", "c") {
		var ce *dependency.CycleError
		g.Expect(errors.As(tr.Cycle(r), &ce)).To(BeTrue())
		g.Expect(ce.Members).To(HaveLen(4))
		g.Expect(ce.Members[0]).To(Equal(r))
		g.Expect(ce.Members[3]).To(Equal(r))
		g.Expect(ce.Reason()).To(Equal(meta.DependencyCycleReason))
		g.Expect(ce.Terminal()).To(BeTrue())
	}
	g.Expect(tr.Cycle(ref("x"))).To(Succeed(), "unknown nodes are no members")
	g.Expect(tr.Set(ref("c"), nil, false)).To(Equal(refs("a", "b")), "the members are looked at again")
	g.Expect(tr.Cycle(ref("a"))).To(Succeed())
	tr.Set(ref("s"), refs("s"), false)
	g.Expect(tr.Cycle(ref("s"))).To(MatchError("dependency cycle: App/ns/s → App/ns/s"))
	tr.Set(ref("c"), refs("a"), false)
	g.Expect(tr.Forget(ref("b"))).To(Equal(refs("a", "c")))
}

// RT-115, KUS-94: dependents and reverse order.
func TestDependents(t *testing.T) {
	g := NewWithT(t)
	tr := dependency.New(dependency.Options{})
	tr.Set(ref("web"), refs("db"), false)
	tr.Set(ref("api"), refs("db", "cache"), true)
	g.Expect(tr.Dependents(ref("db"))).To(Equal(refs("api", "web")))
	g.Expect(tr.Deleting(ref("db"))).To(Equal(refs("api")))
	g.Expect(tr.Set(ref("api"), refs("db", "cache"), false)).To(BeEmpty())
	g.Expect(tr.Deleting(ref("db"))).To(BeEmpty())
	tr.Forget(ref("web"))
	g.Expect(tr.Dependents(ref("db"))).To(Equal(refs("api")))
	g.Expect(tr.Order(refs("api", "db", "cache"))).To(Equal(refs("cache", "db", "api")))
}

// RT-115, D9: a chain is searched to a depth of 64, iteratively; a large graph
// costs little per event.
func TestLargeGraph(t *testing.T) {
	g := NewWithT(t)
	tr := dependency.New(dependency.Options{})
	name := func(i int) string { return fmt.Sprintf("n%05d", i) }
	for i := range 10000 {
		tr.Set(ref(name(i)), refs(name(i+1), name(i+2), name(i+3)), false)
	}
	g.Expect(tr.Cycle(ref(name(0)))).To(Succeed())
	g.Expect(tr.Dependents(ref(name(5000)))).To(HaveLen(3))
	all := refs(name(0), name(5000), name(9999))
	g.Expect(tr.Order(all)).To(Equal(refs(name(9999), name(5000), name(0))))
}
