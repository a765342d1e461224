// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/status"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func statuses(r *ssa.WaitResult) map[string]string {
	out := map[string]string{}
	for _, h := range r.Targets {
		out[h.ID.Kind+"/"+h.ID.Name] = string(h.Status) + " " + h.Reason
	}
	return out
}

// SSA-75, SSA-80, SSA-81: transitions in order, texts, the whole result.
func TestWaitRollout(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	r := e.apply(e.objects(shop), ssa.PlanOptions{})
	var mu sync.Mutex
	var seen []ssa.Health
	res, err := e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{OnTransition: func(h ssa.Health) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, h)
	}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(statuses(res)).To(HaveKeyWithValue("Deployment/web", "Current DeploymentReady"))
	last := map[ssa.ID]status.Status{}
	for _, h := range seen {
		last[h.ID] = h.Status
	}
	g.Expect(last).To(HaveLen(4))
	for id, s := range last {
		g.Expect(s).To(Equal(status.Current), id.String())
	}
	g.Expect(e.rec.Count(isVerb("watch"))).To(BeNumerically("<=", 4))
	// An empty set is done at once.
	res, err = e.m.Wait(t.Context(), nil, ssa.WaitOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Targets).To(BeEmpty())
}

const failing = `
apiVersion: batch/v1
kind: Job
metadata: {name: bad, namespace: NS}
spec: {backoffLimit: 0, template: {metadata: {annotations: {kubelet.gitops-kit.github.io/fail: exit}}, spec: {restartPolicy: Never, containers: [{name: c, image: "example.com/i:1"}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: never, namespace: NS}
spec: {selector: {matchLabels: {a: w}}, template: {metadata: {labels: {a: w}, annotations: {kubelet.gitops-kit.github.io/fail: never-ready}}, spec: {containers: [{name: c, image: "example.com/i:1"}]}}}
`

// F52, SSA-80: fail fast, keep going, timeout, cancellation.
func TestWaitThatFails(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	r := e.apply(e.objects(failing), ssa.PlanOptions{})
	res, err := e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Timeout: 90 * time.Second})
	g.Expect(errors.Is(err, ssa.ErrFailed)).To(BeTrue(), "%v", err)
	g.Expect(err.Error()).To(HavePrefix("failed early due to stalled resources: [Job/" + e.ns + "/bad status: 'Failed': job failed"))
	g.Expect(res.Targets).To(HaveLen(2))
	var we *ssa.WaitError
	g.Expect(errors.As(err, &we)).To(BeTrue())
	g.Expect(we.Reason()).To(Equal("HealthCheckFailed"))

	_, err = e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Timeout: 3 * time.Second, KeepGoing: true})
	g.Expect(errors.Is(err, ssa.ErrTimeout)).To(BeTrue())
	g.Expect(err.Error()).To(SatisfyAll(HavePrefix("timeout waiting for: ["), ContainSubstring("Deployment/"+e.ns+"/never status: 'InProgress'")))

	// The context's end while waiting.
	ctx, cancel := context.WithCancel(t.Context())
	w := e.m.StartWait(ctx, r.Targets()[:1], ssa.WaitOptions{Timeout: 90 * time.Second})
	cancel() // does not end a wait in the background
	g.Consistently(w.Done(), 200*time.Millisecond).ShouldNot(BeClosed())
	g.Expect(w.Err()).To(Succeed())
	w.Stop()
	g.Eventually(w.Done()).Should(BeClosed())
	g.Expect(errors.Is(w.Err(), context.Canceled)).To(BeTrue())
	g.Expect(w.Result().Targets).To(HaveLen(1))
}

// SSA-81: what fails to become ready says why, from its pods and warnings, by
// two requests.
func TestWaitSaysWhatPodsWaitFor(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: pull, namespace: NS}
spec: {selector: {matchLabels: {a: p}, matchExpressions: [{key: a, operator: Exists}]}, template: {metadata: {labels: {a: p}, annotations: {kubelet.gitops-kit.github.io/fail: image}}, spec: {containers: [{name: c, image: "example.com/i:1"}]}}}
`)
	r := e.apply(objects, ssa.PlanOptions{})
	facts := func() []string {
		e.rec.Reset()
		res, err := e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Timeout: time.Second})
		g.Expect(errors.Is(err, ssa.ErrTimeout)).To(BeTrue(), "%v", err)
		return res.Targets[0].Facts
	}
	g.Eventually(facts, "90s").Should(ContainElement(MatchRegexp(`^pod pull-\S+, container c: (ErrImagePull|ImagePullBackOff)`)))
	g.Expect(e.rec.Count(func(c ssatestCall) bool { return c.Verb == "list" && (c.Kind == "Pod" || c.Kind == "Event") })).To(Equal(2))
}

// SSA-83: what is not gone says what is left of it.
func TestWaitGoneSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(`
apiVersion: v1
kind: Namespace
metadata: {name: NS-left}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: held, namespace: NS-left, finalizers: [example.com/hold]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: NS, finalizers: [example.com/hold]}
spec: {replicas: 2, selector: {matchLabels: {a: d}}, template: {metadata: {labels: {a: d}}, spec: {containers: [{name: c, image: "example.com/i:1"}]}}}
`)
	r := e.apply(objects, ssa.PlanOptions{})
	defer func() {
		for _, i := range []int{1, 2} {
			e.patch("x", objects[i], `[{"op":"remove","path":"/metadata/finalizers"}]`)
		}
	}()
	_, err := e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Timeout: 90 * time.Second})
	g.Expect(err).NotTo(HaveOccurred())
	e.delete(objects[0])
	e.delete(objects[2])
	g.Eventually(func() map[string][]string {
		res, err := e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Gone: true, Timeout: time.Second})
		g.Expect(errors.Is(err, ssa.ErrTimeout)).To(BeTrue(), "%v", err)
		facts := map[string][]string{}
		for _, h := range res.Targets {
			facts[h.ID.Kind] = h.Facts
		}
		return facts
	}, "90s").Should(And(
		HaveKeyWithValue("Namespace", ContainElement(ContainSubstring("configmaps. has 1 resource instances"))),
		HaveKeyWithValue("Deployment", ConsistOf("finalizers: 1 example.com/hold", "2 pods remain"))))
}

// SSA-77
func TestWaitRules(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	r := e.apply(e.objects(cm("")+"---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\n"), ssa.PlanOptions{})
	rule := func(kind, s string, err error) ssa.Rule {
		return ssa.Rule{Kind: kind, Evaluate: func(context.Context, map[string]any) (string, string, error) { return s, "said so", err }}
	}
	_, err := e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Rules: []ssa.Rule{rule("", "Current", nil), rule("Secret", "Failed", nil)}})
	g.Expect(errors.Is(err, ssa.ErrFailed)).To(BeTrue())
	g.Expect(err.Error()).To(ContainSubstring("Secret/" + e.ns + "/s status: 'Failed': said so"))
	_, err = e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Timeout: 3 * time.Second, Rules: []ssa.Rule{rule("Secret", "", errInjected)}})
	g.Expect(errors.Is(err, ssa.ErrTimeout)).To(BeTrue())
	g.Expect(err.Error()).To(ContainSubstring("'InProgress': injected"))
	_, err = e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Timeout: 3 * time.Second, Rules: []ssa.Rule{rule("Secret", "nonsense", nil)}})
	g.Expect(errors.Is(err, ssa.ErrTimeout)).To(BeTrue())
}

// SSA-79, SSA-82: a Job that removes itself, and one that somebody removes.
func TestWaitForVanishingObjects(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	r := e.apply(e.objects(strings.Replace(strings.ReplaceAll(job, "@V", "1"), "suspend: true", "ttlSecondsAfterFinished: 0", 1)), ssa.PlanOptions{})
	uid := r.Outcomes[0].UID
	g.Eventually(func() any {
		u := e.live(e.objects(strings.ReplaceAll(job, "@V", "1"))[0])
		return u == nil || string(u.GetUID()) != uid
	}, "90s").Should(BeTrue())
	res, err := e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Timeout: 90 * time.Second})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(statuses(res)).To(HaveKeyWithValue("Job/x", "Current JobGone"))

	r = e.apply(e.objects(failing)[1:], ssa.PlanOptions{})
	w := e.m.StartWait(t.Context(), r.Targets(), ssa.WaitOptions{})
	g.Eventually(func() int { return w.Result().Targets[0].Events }).Should(BeNumerically(">", 0))
	_, err = e.cluster.Send(t.Context(), ssa.Write{Verb: ssa.VerbDelete, Resource: e.resource("apps", "v1", "Deployment"), Namespace: e.ns, Name: "never", Propagation: "Background"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(w.Done(), "90s").Should(BeClosed())
	g.Expect(errors.Is(w.Err(), ssa.ErrFailed)).To(BeTrue())
	g.Expect(statuses(w.Result())).To(HaveKeyWithValue("Deployment/never", "Failed Deleted"))
}

// SSA-79
func TestWaitForStatus(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	definition := e.objects(crd(group, ""))
	t.Cleanup(func() { e.cleanup(definition) })
	widget := "apiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: w, namespace: NS}\nspec: {a: 1}\n"
	r := e.apply(append(definition, e.objects(widget)...), ssa.PlanOptions{})
	targets := r.Targets()[1:]
	_, err := e.m.Wait(t.Context(), targets, ssa.WaitOptions{Timeout: 3 * time.Second})
	g.Expect(errors.Is(err, ssa.ErrTimeout)).To(BeTrue())
	g.Expect(err.Error()).To(ContainSubstring("status was not reported yet"))
	res, err := e.m.Wait(t.Context(), targets, ssa.WaitOptions{StatuslessGrace: 200 * time.Millisecond})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(statuses(res)).To(HaveKeyWithValue("Widget/w", "Current NoStatus"))
	_, err = e.m.Wait(t.Context(), targets, ssa.WaitOptions{StatuslessGrace: -1})
	g.Expect(err).NotTo(HaveOccurred())
	// SSA-82: what never existed.
	_, err = e.m.Wait(t.Context(), []ssa.Target{{ID: ssa.ID{Namespace: e.ns, Name: "none", Kind: "ConfigMap"}, Version: "v1"}}, ssa.WaitOptions{Timeout: 3 * time.Second})
	g.Expect(errors.Is(err, ssa.ErrTimeout)).To(BeTrue())
	g.Expect(err.Error()).To(ContainSubstring("status: 'NotFound'"))
}

// SSA-75: objects that are not ours are watched by name; SSA-76: watches that
// break or are too old are made good.
func TestWaitForForeignObjectsOverBadWatches(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	u := e.objects(failing)[1]
	e.createAs("someone", u)
	var n atomic.Int32 // watches start side by side
	e.rec.Before(func(c ssatestCall) error {
		if c.Verb != "watch" {
			return nil
		}
		switch n.Add(1) {
		case 1:
			return apierrors.NewResourceExpired("too old")
		case 2:
			return errInjected
		}
		return nil
	})
	w := e.m.StartWait(t.Context(), []ssa.Target{{ID: ssa.IDOf(u), Version: "v1"}}, ssa.WaitOptions{Timeout: 90 * time.Second})
	g.Eventually(func() int { return w.Result().Targets[0].Events }).Should(BeNumerically(">", 1))
	e.patch("someone", u, `[{"op":"replace","path":"/spec/replicas","value":0}]`)
	g.Eventually(w.Done(), "90s").Should(BeClosed())
	g.Expect(w.Err()).NotTo(HaveOccurred())
}

// SSA-83: Gone.
func TestWaitGone(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	held := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: h, namespace: NS, finalizers: [example.com/hold]}\n")
	r := e.apply(held, ssa.PlanOptions{})
	_, err := e.cluster.Send(t.Context(), ssa.Write{Verb: ssa.VerbDelete, Resource: e.resource("", "v1", "ConfigMap"), Namespace: e.ns, Name: "h"})
	g.Expect(err).NotTo(HaveOccurred())
	res, err := e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Gone: true, Timeout: 3 * time.Second})
	g.Expect(errors.Is(err, ssa.ErrTimeout)).To(BeTrue())
	g.Expect(res.Targets[0].Facts).To(ConsistOf(ContainSubstring("example.com/hold")))
	w := e.m.StartWait(t.Context(), r.Targets(), ssa.WaitOptions{Gone: true})
	e.patch("x", held[0], `[{"op":"remove","path":"/metadata/finalizers"}]`)
	g.Eventually(w.Done(), "90s").Should(BeClosed())
	g.Expect(w.Err()).NotTo(HaveOccurred())
	// Another object of the name counts as gone.
	e.apply(e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: h, namespace: NS}\n"), ssa.PlanOptions{})
	_, err = e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Gone: true, Timeout: 90 * time.Second})
	g.Expect(err).NotTo(HaveOccurred())
}

// SSA-78: a claim that is bound when it is first used does not hold anybody up.
func TestWaitForConsumer(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	class := "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: NS-MODE}\nprovisioner: example.com/none\nvolumeBindingMode: MODE\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: pMODE, namespace: NS}\nspec: {storageClassName: NS-MODE, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n"
	lower := func(mode string) string {
		return strings.NewReplacer("volumeBindingMode: MODE", "volumeBindingMode: "+mode, "MODE", strings.ToLower(mode)).Replace(class)
	}
	late, now := e.objects(lower("WaitForFirstConsumer")), e.objects(lower("Immediate"))
	t.Cleanup(func() { e.cleanup(late); e.cleanup(now) })
	res, err := e.m.Wait(t.Context(), e.apply(late, ssa.PlanOptions{}).Targets(), ssa.WaitOptions{Timeout: 90 * time.Second})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(statuses(res)).To(HaveKeyWithValue("PersistentVolumeClaim/pwaitforfirstconsumer", "Current WaitingForConsumer"))
	_, err = e.m.Wait(t.Context(), e.apply(now, ssa.PlanOptions{}).Targets(), ssa.WaitOptions{Timeout: 500 * time.Millisecond})
	g.Expect(errors.Is(err, ssa.ErrTimeout)).To(BeTrue())
	e.patch("scheduler", late[1], `[{"op":"add","path":"/metadata/annotations","value":{"volume.kubernetes.io/selected-node":"n"}}]`)
	_, err = e.m.Wait(t.Context(), []ssa.Target{{ID: ssa.IDOf(late[1]), Version: "v1"}}, ssa.WaitOptions{Timeout: 500 * time.Millisecond})
	g.Expect(errors.Is(err, ssa.ErrTimeout)).To(BeTrue())
}

// SSA-75: watch forbidden, list allowed.
func TestWaitWithoutWatch(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	r := e.apply(e.objects(shop), ssa.PlanOptions{})
	e.rec.Before(func(c ssatestCall) error {
		if c.Verb == "watch" {
			return apierrors.NewForbidden(schema.GroupResource{}, "", fmt.Errorf("no"))
		}
		return nil
	})
	_, err := e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Timeout: 90 * time.Second})
	e.g.Expect(err).NotTo(HaveOccurred())
}
