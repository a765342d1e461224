// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestMain waits generously, because these tests run on slow machines, too,
// and looks at the end for goroutines of this module that nobody stopped.
func TestMain(m *testing.M) {
	SetDefaultEventuallyTimeout(90 * time.Second)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	code := m.Run()
	if code == 0 && os.Getenv("SSA_CRASH_NS") == "" {
		code = leaks()
	}
	os.Exit(code) //nolint:forbidigo // how a TestMain ends
}

// leaks reports goroutines in which a function of package ssa or one of its
// folders runs; those of the transport, which keeps connections, and of the
// control plane have none.
func leaks() int {
	var left string
	for range 100 {
		buf := make([]byte, 8<<20)
		left = ""
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "github.com/gitops-kit/sdk/ssa") && !strings.Contains(stack, "TestMain") {
				left += stack + "\n\n"
			}
		}
		if left == "" {
			return 0
		}
		<-time.After(100 * time.Millisecond) // goroutines end on their own, or never
	}
	fmt.Fprintf(os.Stderr, "goroutines are left:\n%s", left)
	return 1
}

// SSA-101: no goroutine outlives a call. The shared control plane and idle
// connections, which live as long as the process, are not counted.
func TestNoGoroutineOutlivesACall(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	objects := e.objects(configMaps(e.ns, 30))
	round := func() {
		r := e.apply(objects, ssa.PlanOptions{})
		_, err := e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{OnTransition: func(ssa.Health) {}})
		e.g.Expect(err).NotTo(HaveOccurred())
		w := e.m.StartWait(t.Context(), []ssa.Target{{ID: ssa.ID{Namespace: e.ns, Name: "none", Kind: "ConfigMap"}, Version: "v1"}}, ssa.WaitOptions{})
		w.Stop()
		<-w.Done()
	}
	round()
	before := goleak.IgnoreCurrent()
	round()
	if err := goleak.Find(before, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*clientConnReadLoop).run"), goleak.IgnoreAnyFunction("internal/poll.runtime_pollWait")); err != nil {
		t.Fatal(err)
	}
}

// SSA-3: 16 goroutines, one Manager.
func TestManagerConcurrentSafe(t *testing.T) {
	e := newEnv(t, ssa.Options{Memo: ssa.NewMemo(ssa.MemoOptions{}), Progress: func(ssa.Progress) {}})
	objects := e.objects(shop)
	shared := e.plan(objects, ssa.PlanOptions{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			r, err := e.m.Apply(t.Context(), shared, ssa.ApplyOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			p, err := e.m.Plan(t.Context(), objects, ssa.PlanOptions{})
			if err != nil {
				t.Error(err)
			}
			_ = p.Diff(ssa.DiffOptions{All: true}).String()
			if _, err = e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Timeout: time.Minute}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// F53, SSA-19: dependencies are applied first; a circle and a dependency that
// does not exist are named.
func TestDependsOn(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	item := func(name, on string) string {
		return "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: NS, annotations: {config.kubernetes.io/depends-on: \"" + strings.ReplaceAll(on, "@", "/namespaces/NS/ConfigMap/") + "\"}}\n"
	}
	o := ssa.PlanOptions{DependsOnAnnotation: true}
	e.apply(e.objects(item("a", "@c")+item("b", "@a, /namespaces/NS/Secret/s")+item("c", "")+"---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\n"), o)
	var order []string
	for _, c := range e.rec.Calls() {
		if c.Verb == "apply" && !c.DryRun {
			order = append(order, c.Name)
		}
	}
	g.Expect(order[:2]).To(Equal([]string{"c", "a"}))
	g.Expect(order).To(ContainElement("b"))
	g.Expect(order[3]).To(Equal("b"))
	p, err := e.m.Plan(t.Context(), e.objects(item("x", "@w1")+item("w1", "@z")+item("z", "@x")+item("ok", "")), o)
	var ce *ssa.CycleError
	g.Expect(err).To(HaveOccurred())
	g.Expect(asError(err, &ce)).To(BeTrue())
	g.Expect(ce.Members).To(HaveLen(3))
	g.Expect(ce.Terminal()).To(BeTrue())
	g.Expect(decisions(p)["ConfigMap/ok"]).To(Equal("create Absent"))
	_, err = e.m.Plan(t.Context(), e.objects(item("x", "@nowhere")), o)
	g.Expect(err).To(MatchError(ContainSubstring("does not exist")))
	_, err = e.m.Plan(t.Context(), e.objects(item("x", "nonsense")), o)
	g.Expect(err).To(HaveOccurred())
	// Outside of the set it must exist.
	p = e.plan(e.objects(item("w", "@a")), o)
	g.Expect(decisions(p)["ConfigMap/w"]).To(Equal("create Absent"))
}

// SSA-13: the order of the ranks, and of ties.
func TestOrder(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	kinds := []string{
		"CustomResourceDefinition apiextensions.k8s.io/v1", "Namespace v1", "ClusterRole rbac.authorization.k8s.io/v1", "PriorityClass scheduling.k8s.io/v1", "StorageClass storage.k8s.io/v1",
		"ClusterRoleBinding rbac.authorization.k8s.io/v1", "ResourceQuota v1", "ServiceAccount v1", "Role rbac.authorization.k8s.io/v1", "RoleBinding rbac.authorization.k8s.io/v1", "ConfigMap v1", "Secret v1", "Service v1",
		"LimitRange v1", "Deployment apps/v1", "StatefulSet apps/v1", "CronJob batch/v1", "PodDisruptionBudget policy/v1", "DaemonSet apps/v1", "Service other.example.com/v1", "MutatingWebhookConfiguration admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration admissionregistration.k8s.io/v1",
	}
	var objects []*unstructured.Unstructured
	for i := range kinds {
		kind, version, _ := strings.Cut(kinds[len(kinds)-1-i], " ")
		for _, name := range []string{"b", "a"} {
			objects = append(objects, &unstructured.Unstructured{Object: map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{"name": name}}})
		}
	}
	p, _ := e.m.Plan(t.Context(), objects, ssa.PlanOptions{}) // most are blocked; the order is what counts
	var got, want []string
	for _, en := range p.Entries {
		got = append(got, fmt.Sprint(en.ID.Kind, " ", en.ID.Group, " ", en.ID.Name))
	}
	for _, k := range kinds {
		kind, version, _ := strings.Cut(k, " ")
		group, _, ok := strings.Cut(version, "/")
		if !ok {
			group = ""
		}
		want = append(want, kind+" "+group+" a", kind+" "+group+" b")
	}
	e.g.Expect(got).To(Equal(want))
}
