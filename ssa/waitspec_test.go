// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/status"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// byData judges ConfigMaps by what they hold.
var byData = ssa.Rule{Kind: "ConfigMap", Evaluate: func(_ context.Context, o map[string]any) (string, string, error) {
	s, _, _ := unstructured.NestedString(o, "data", "status")
	return s, "it says " + s, nil
}}

func (e *env) say(u *unstructured.Unstructured, status string) {
	e.patch("x", u, `[{"op":"add","path":"/data","value":{"status":"`+status+`"}}]`)
}

// SSA-80: an error names 20 objects and counts the others.
func TestWaitErrorIsShort(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	var targets []ssa.Target
	for i := range 25 {
		targets = append(targets, ssa.Target{ID: ssa.ID{Namespace: e.ns, Name: fmt.Sprintf("n%02d", i), Kind: "ConfigMap"}, Version: "v1"})
	}
	r, err := e.m.Wait(t.Context(), targets, ssa.WaitOptions{Timeout: 3 * time.Second})
	e.g.Expect(err).To(MatchError(ssa.ErrTimeout))
	e.g.Expect(err.Error()).To(HaveSuffix("] … and 5 more"))
	e.g.Expect(strings.Count(err.Error(), "status: 'NotFound'")).To(Equal(20))
	e.g.Expect(r.Targets).To(HaveLen(25))
}

// SSA-80: Failed ends a wait when it persists, and not when it heals in time.
func TestWaitGraceForFailures(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	u := e.objects(cm(""))[0]
	targets := e.apply([]*unstructured.Unstructured{u}, ssa.PlanOptions{}).Targets()
	e.say(u, "Failed")
	w := e.m.StartWait(t.Context(), targets, ssa.WaitOptions{Rules: []ssa.Rule{byData}, FailGrace: time.Hour, Timeout: 5 * time.Minute})
	g.Eventually(func() status.Status { return w.Result().Targets[0].Status }).Should(Equal(status.Failed))
	e.say(u, "Current")
	g.Eventually(w.Done()).Should(BeClosed())
	g.Expect(w.Err()).NotTo(HaveOccurred())

	e.say(u, "Failed")
	_, err := e.m.Wait(t.Context(), targets, ssa.WaitOptions{Rules: []ssa.Rule{byData}, FailGrace: 50 * time.Millisecond, Timeout: 5 * time.Minute})
	g.Expect(err).To(MatchError(ssa.ErrFailed))
}

// SSA-81: a slow callback gets the latest status of each object, in order and
// from one goroutine, and the result counts what it missed.
func TestWaitWithSlowCallback(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	u := e.objects(cm(""))[0]
	targets := e.apply([]*unstructured.Unstructured{u}, ssa.PlanOptions{}).Targets()
	e.say(u, "InProgress")
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var heard []string // by one goroutine; read after the end
	w := e.m.StartWait(t.Context(), targets, ssa.WaitOptions{
		Rules: []ssa.Rule{byData}, FailGrace: time.Hour, Timeout: 5 * time.Minute,
		OnTransition: func(h ssa.Health) {
			heard = append(heard, string(h.Status))
			once.Do(func() { close(started); <-release })
		},
	})
	<-started
	of := func() string { return string(w.Result().Targets[0].Status) }
	for _, s := range []string{"Failed", "Unknown", "InProgress", "Failed"} {
		e.say(u, s)
		g.Eventually(of).Should(Equal(s))
	}
	close(release)
	e.say(u, "Current")
	g.Eventually(w.Done()).Should(BeClosed())
	g.Expect(w.Err()).NotTo(HaveOccurred())
	g.Expect(w.Result().Dropped).To(BeNumerically(">=", 3))
	g.Expect(heard).To(Or(Equal([]string{"InProgress", "Failed", "Current"}), Equal([]string{"InProgress", "Current"})))
}

// SSA-75: up to 32 foreign objects are watched by name, more of them by
// namespace.
func TestWatchesOfForeignObjects(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{3: 1 + 3, 33: 1 + 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, ssa.Options{})
			var targets []ssa.Target
			for _, u := range e.objects(configMaps(e.ns, n)) {
				e.createAs("other", u)
				targets = append(targets, ssa.Target{ID: ssa.IDOf(u), Version: "v1"})
			}
			w := e.m.StartWait(t.Context(), targets, ssa.WaitOptions{Rules: []ssa.Rule{byData}, Timeout: 5 * time.Minute})
			defer w.Stop()
			e.g.Eventually(func() int { return e.rec.Count(isVerb("watch")) }).Should(Equal(want))
			e.g.Consistently(func() int { return e.rec.Count(isVerb("watch")) }, "100ms").Should(Equal(want))
		})
	}
}

// SSA-16, SSA-19: a dependent is written when what it depends on is Current,
// and not at all when that failed; what does not depend on it is.
func TestDependentsWaitForCurrent(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	text := `
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: NS}
spec: {selector: {matchLabels: {a: d}}, template: {metadata: {labels: {a: d}}, spec: {containers: [{name: c, image: "example.com/i:1"}]}}}
` + dependent("ConfigMap", "after", "apps/namespaces/NS/Deployment/d") + "---\n" + cm("")
	objects := e.objects(text)
	var ready int64
	e.rec.Before(func(c ssatestCall) error {
		if c.Verb == "apply" && c.Name == "after" && !c.DryRun {
			ready, _, _ = unstructured.NestedInt64(e.live(objects[0]).Object, "status", "readyReplicas")
		}
		return nil
	})
	e.apply(objects, ssa.PlanOptions{DependsOnAnnotation: true})
	g.Expect(ready).To(BeEquivalentTo(1))

	e2 := newEnv(t, ssa.Options{})
	p := e2.plan(e2.objects(text), ssa.PlanOptions{DependsOnAnnotation: true})
	e2.rec.Before(func(c ssatestCall) error {
		if c.Verb == "apply" && c.Name == "d" && !c.DryRun {
			return apierrors.NewForbidden(schema.GroupResource{}, "d", errInjected)
		}
		return nil
	})
	r, err := e2.m.Apply(t.Context(), p, ssa.ApplyOptions{ContinueOnError: true})
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
	g.Expect(actions(r)).To(Equal(map[string]string{"Deployment/d": "failed", "ConfigMap/after": "notAttempted", "ConfigMap/c": "created"}))
	g.Expect(e2.live(e2.objects(text)[1])).To(BeNil())
}

// SSA-14, SSA-15, SSA-16: stages of one's own are written and awaited in their
// order; what an earlier stage wrote stays when a later one is blocked.
func TestStagesOfOnesOwn(t *testing.T) {
	t.Parallel()
	first, err := ssa.ParseGroupKinds("apps/Deployment")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	stages := []ssa.Stage{
		{Match: func(gk schema.GroupKind) bool { return slices.Contains(first, gk) }, Wait: 5 * time.Minute},
		{},
	}
	e := newEnv(t, ssa.Options{Stages: stages})
	g := e.g
	text := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: NS}\nspec: {selector: {matchLabels: {a: d}}, template: {metadata: {labels: {a: d}}, spec: {containers: [{name: c, image: \"example.com/i:1\"}]}}}\n---\n"
	objects := e.objects(text + cm(""))
	var ready int64
	e.rec.Before(func(c ssatestCall) error {
		if c.Verb == "apply" && c.Kind == "ConfigMap" && !c.DryRun {
			ready, _, _ = unstructured.NestedInt64(e.live(objects[0]).Object, "status", "readyReplicas")
		}
		return nil
	})
	e.apply(objects, ssa.PlanOptions{})
	g.Expect(ready).To(BeEquivalentTo(1))

	e2 := newEnv(t, ssa.Options{Stages: stages})
	p, err := e2.m.Plan(t.Context(), e2.objects(text+cm("")+"---\napiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: NS}\nspec: {ports: [{port: 0}]}\n"), ssa.PlanOptions{})
	g.Expect(err).To(HaveOccurred())
	r, err := e2.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(actions(r)).To(Equal(map[string]string{"Deployment/d": "created", "ConfigMap/c": "notAttempted", "Service/bad": "notAttempted"}))
	g.Expect(r.Stopped).To(ContainSubstring("1 objects blocked"))
}
