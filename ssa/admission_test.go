// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	"github.com/gitops-kit/sdk/ssa/status"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// SSA-26: a webhook that cannot be rehearsed blocks, or is accepted; then what
// the proof finds unchanged stays unchanged, also when everything is due.
func TestWebhookWithoutDryRun(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	// Servers do not admit such webhooks any more; those they have had before
	// are still there. This is what they say of a dry-run.
	e.rec.Before(func(c ssatestCall) error {
		if c.DryRun && c.Kind == "ConfigMap" {
			return apierrors.NewBadRequest(`admission webhook "hook.` + e.ns + `.example.com" does not support dry run`)
		}
		return nil
	})
	objects := e.objects(cm("") + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\n")
	p, err := e.m.Plan(t.Context(), objects, ssa.PlanOptions{})
	var du *ssa.DryRunUnsupportedError
	g.Expect(errors.As(err, &du)).To(BeTrue(), "%v", err)
	g.Expect(du.Webhook).To(Equal("hook." + e.ns + ".example.com"))
	g.Expect(decisions(p)).To(Equal(map[string]string{"ConfigMap/c": "blocked Invalid", "Secret/s": "create Absent"}))
	_, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(errors.As(err, &du)).To(BeTrue())
	g.Expect(e.rec.Writes()).To(BeZero())

	o := ssa.PlanOptions{AllowUnverified: true}
	g.Expect(decisions(e.plan(objects, o))).To(HaveKeyWithValue("ConfigMap/c", "create Unverified"))
	e.apply(objects, o)
	rv := e.live(objects[0]).GetResourceVersion()
	g.Expect(decisions(e.plan(objects, o))).To(HaveKeyWithValue("ConfigMap/c", "unchanged Proved"))
	o.VerifyEvery = 1
	g.Expect(decisions(e.plan(objects, o))).To(HaveKeyWithValue("ConfigMap/c", "unchanged Unverified"))
	e.apply(objects, o)
	g.Expect(e.live(objects[0]).GetResourceVersion()).To(Equal(rv))
	_ = unstructured.SetNestedField(objects[0].Object, "2", "data", "a")
	g.Expect(decisions(e.plan(objects, o))).To(HaveKeyWithValue("ConfigMap/c", "update Unverified"))
	e.apply(objects, o)
	g.Expect(e.live(objects[0]).Object["data"]).To(Equal(map[string]any{"a": "2"}))
}

// F9: a validating webhook that is down fails its objects for now; the others
// are applied, and nothing is pruned.
func TestF09ValidatingWebhookDown(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	stale := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stale, namespace: NS}\n")
	old := e.apply(stale, ssa.PlanOptions{}).Inventory()
	objects := e.objects(cm("") + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\n")
	conf := e.register("Validating", "https://127.0.0.1:1/", "", "/secrets")
	var p *ssa.Plan
	var err error
	g.Eventually(func() error { p, err = e.m.Plan(t.Context(), objects, ssa.PlanOptions{}); return err }, "90s").Should(HaveOccurred())
	g.Expect(decisions(p)).To(Equal(map[string]string{"ConfigMap/c": "create Absent", "Secret/s": "blocked Invalid"}))
	var pe *ssa.PlanError
	g.Expect(errors.As(err, &pe)).To(BeTrue())
	g.Expect(pe.Terminal()).To(BeFalse())
	g.Expect(pe.Objects()).To(HaveLen(1))
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{ContinueOnError: true})
	g.Expect(err).To(HaveOccurred())
	g.Expect(actions(r)).To(Equal(map[string]string{"ConfigMap/c": "created", "Secret/s": "notAttempted"}))
	dp, err := e.m.PlanPrune(t.Context(), old, r, ssa.PruneOptions{})
	var pb *ssa.PruneBlockedError
	g.Expect(errors.As(err, &pb)).To(BeTrue())
	_, err = e.m.Delete(t.Context(), dp, ssa.DeleteOptions{}) // a refused plan is not executed
	g.Expect(errors.As(err, &pb)).To(BeTrue())
	g.Expect(e.live(stale[0])).NotTo(BeNil())

	e.delete(conf)
	g.Eventually(func() error { p, err = e.m.Plan(t.Context(), objects, ssa.PlanOptions{}); return err }, "90s").Should(Succeed())
	r, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Complete()).To(BeTrue())
}

// F10, SSA-22: a webhook that undoes what we want is no reason to write for
// ever: what the server makes of the object is what it is compared with.
func TestF10WebhookUndoesUs(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{Memo: ssa.NewMemo(ssa.MemoOptions{})})
	g := e.g
	e.webhook(&hook{change: func(o map[string]any) []patchOp {
		if (&unstructured.Unstructured{Object: o}).GetName() != "c" {
			return nil
		}
		return []patchOp{{"add", "/data/a", "hooked"}}
	}}, "/configmaps")
	objects := e.objects(cm(""))
	e.apply(objects, ssa.PlanOptions{})
	rv := e.live(objects[0]).GetResourceVersion()
	var loops ssa.LoopDetector
	for range 4 {
		r := e.apply(objects, ssa.PlanOptions{})
		g.Expect(actions(r)).To(HaveKeyWithValue("ConfigMap/c", "unchanged"))
		g.Expect(loops.Add(r)).To(BeEmpty())
	}
	live := e.live(objects[0])
	g.Expect(live.GetResourceVersion()).To(Equal(rv))
	g.Expect(live.Object["data"]).To(Equal(map[string]any{"a": "hooked"}))
}

// F10, SSA-66: somebody who sets a field back after each apply is named.
func TestF10SomebodyUndoesUs(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(cm(""))
	e.apply(objects, ssa.PlanOptions{})
	var detector ssa.LoopDetector
	var loops []ssa.Loop
	for i := range 3 {
		g.Expect(loops).To(BeEmpty())
		e.patch("operator", objects[0], `[{"op":"replace","path":"/data/a","value":"x`+strconv.Itoa(i)+`"}]`)
		loops = detector.Add(e.apply(objects, ssa.PlanOptions{}))
	}
	g.Expect(loops).To(HaveLen(1))
	g.Expect(loops[0].Paths).To(Equal([]string{"/data/a"}))
	g.Expect(loops[0].Other).To(ConsistOf(ContainSubstring("operator")))
}

// SSA-42: a webhook that begins to behave differently without any change of
// its configuration is caught within VerifyEvery plans.
func TestWebhookChangesItsMind(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{Memo: ssa.NewMemo(ssa.MemoOptions{})})
	g := e.g
	mind := func(v string) func(map[string]any) []patchOp {
		return func(o map[string]any) []patchOp {
			if data, ok := o["data"].(map[string]any); ok && data["a"] != nil {
				return []patchOp{{"add", "/data/extra", v}}
			}
			return nil
		}
	}
	h := &hook{change: mind("1")}
	e.webhook(h, "/configmaps")
	objects := e.objects(cm(""))
	e.apply(objects, ssa.PlanOptions{})
	const every = 4
	v := ssa.Verification{}
	quiet := func() bool {
		p := e.plan(objects, ssa.PlanOptions{Verified: v, VerifyEvery: every})
		v = p.Verified
		return p.Entries[0].Decision == ssa.DecisionUnchanged
	}
	for range every {
		g.Expect(quiet()).To(BeTrue())
	}
	h.set(mind("2"))
	caught := 0
	for i := 1; i <= every && caught == 0; i++ {
		if !quiet() {
			caught = i
		}
	}
	g.Expect(caught).To(BeNumerically(">", 0), "not caught within %d plans", every)
}

// SSA-23: a policy that refuses one object says so about that object; the
// others are planned.
func TestValidatingAdmissionPolicy(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	policy := e.objects(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NS}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]
  validations: [{expression: "!has(object.data) || !('forbidden' in object.data)", message: "that word is forbidden"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NS}
spec: {policyName: NS, validationActions: [Deny]}
`)
	for _, u := range policy {
		e.createAs("x", u)
		t.Cleanup(func() { e.delete(u) })
	}
	bad := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad, namespace: NS}\ndata: {forbidden: x}\n---\n" + cm(""))
	var p *ssa.Plan
	var err error
	g.Eventually(func() error { p, err = e.m.Plan(t.Context(), bad, ssa.PlanOptions{}); return err }, "90s").Should(HaveOccurred())
	g.Expect(err.Error()).To(ContainSubstring("that word is forbidden"))
	g.Expect(decisions(p)).To(Equal(map[string]string{"ConfigMap/bad": "blocked Invalid", "ConfigMap/c": "create Absent"}))
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{ContinueOnError: true})
	g.Expect(err).To(HaveOccurred())
	g.Expect(r.Count(ssa.ActionCreated)).To(Equal(1))
	g.Expect(e.live(bad[0])).To(BeNil())
}

// gadgetSet is a set with a ConfigMap and an object of a kind in two versions.
func gadgetSet(e *env) (definition *unstructured.Unstructured, objects []*unstructured.Unstructured) {
	group := e.ns + ".example.com"
	definition = gadgets(e, group)
	e.apply(list(definition), ssa.PlanOptions{})
	e.t.Cleanup(func() { e.delete(definition) })
	return definition, e.objects(cm("") + "---\napiVersion: " + group + "/v1\nkind: Gadget\nmetadata: {name: g, namespace: NS}\nspec: {a: 1}\n")
}

// F11, N49: a conversion webhook that is down makes its kind unreadable and
// leaves the others alone; nothing of the kind is pruned.
func TestF11ConversionWebhookDown(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	definition, objects := gadgetSet(e)
	old := e.apply(objects, ssa.PlanOptions{}).Inventory()
	down := `[{"op":"replace","path":"/spec/conversion","value":{"strategy":"Webhook","webhook":{"conversionReviewVersions":["v1"],"clientConfig":{"url":"https://127.0.0.1:1/"}}}}]`
	e.patch("x", definition, down)
	_ = unstructured.SetNestedField(objects[0].Object, "2", "data", "a")
	var p *ssa.Plan
	var err error
	g.Eventually(func() error { p, err = e.m.Plan(t.Context(), objects, ssa.PlanOptions{}); return err }, "90s").Should(HaveOccurred())
	g.Expect(decisions(p)).To(Equal(map[string]string{"ConfigMap/c": "update Changed", "Gadget/g": "blocked LiveUnreadable"}))
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{ContinueOnError: true})
	g.Expect(err).To(HaveOccurred())
	g.Expect(actions(r)).To(Equal(map[string]string{"ConfigMap/c": "configured", "Gadget/g": "notAttempted"}))
	dp, err := e.m.PlanPrune(t.Context(), old, kept{inventory.Set{}, true}, ssa.PruneOptions{AllowEmpty: true})
	var de *ssa.DeleteError
	g.Expect(errors.As(err, &de)).To(BeTrue(), "%v", err)
	g.Expect(de.Terminal()).To(BeFalse())
	for _, en := range dp.Entries {
		if en.ID.Kind == "Gadget" {
			g.Expect(en.Decision).To(Equal(ssa.DecisionBlocked))
		}
	}

	e.patch("x", definition, `[{"op":"replace","path":"/spec/conversion","value":{"strategy":"None"}}]`)
	g.Eventually(func() error { p, err = e.m.Plan(t.Context(), objects, ssa.PlanOptions{}); return err }, "90s").Should(Succeed())
	g.Expect(decisions(p)).To(HaveKeyWithValue("Gadget/g", HavePrefix("unchanged")))
}

// F13, N49: a definition that is deleted takes its kind away, not more; when
// it is back, so is the kind.
func TestF13DefinitionDeletedAndBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	definition, objects := gadgetSet(e)
	old := e.apply(objects, ssa.PlanOptions{}).Inventory()
	w := e.m.StartWait(t.Context(), []ssa.Target{{ID: ssa.IDOf(objects[1]), Version: "v1"}}, ssa.WaitOptions{Gone: true})
	e.delete(definition)
	g.Eventually(w.Done(), "90s").Should(BeClosed())
	g.Expect(w.Err()).NotTo(HaveOccurred())
	var p *ssa.Plan
	var err error
	g.Eventually(func() string {
		p, err = e.m.Plan(t.Context(), objects, ssa.PlanOptions{})
		return decisions(p)["Gadget/g"]
	}, "90s").Should(Equal("blocked UnknownKind"))
	g.Expect(errors.Is(err, ssa.ErrKindUnknown)).To(BeTrue())
	g.Expect(decisions(p)).To(HaveKeyWithValue("ConfigMap/c", "unchanged Proved"))
	_, err = e.m.PlanPrune(t.Context(), old, p, ssa.PruneOptions{})
	var pb *ssa.PruneBlockedError
	g.Expect(errors.As(err, &pb)).To(BeTrue())

	e.apply(list(gadgets(e, strings.TrimPrefix(definition.GetName(), "gadgets."))), ssa.PlanOptions{})
	g.Eventually(func() error { p, err = e.m.Plan(t.Context(), objects, ssa.PlanOptions{}); return err }, "90s").Should(Succeed())
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(actions(r)).To(Equal(map[string]string{"ConfigMap/c": "unchanged", "Gadget/g": "created"}))
}

// between calls f once, after the first LIST of a wait over l and before its
// WATCH.
func between(l *line, f func()) {
	var once sync.Once
	l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if r.URL.Query().Get("watch") != "" {
			once.Do(f)
		}
		return send()
	})
}

// F13, SSA-83, N49: a kind that goes between the LIST and the WATCH of a wait
// is gone; who waits for health hears that the object was deleted.
func TestF13KindGoesBetweenListAndWatch(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	definition, objects := gadgetSet(e)
	e.apply(objects, ssa.PlanOptions{})
	target := []ssa.Target{{ID: ssa.IDOf(objects[1]), Version: "v1"}}
	never := ssa.Rule{Group: target[0].ID.Group, Kind: "Gadget", Evaluate: func(context.Context, map[string]any) (status, message string, err error) {
		return "InProgress", "", nil
	}}
	listed, deleted := make(chan struct{}), make(chan struct{})
	var waiters []*ssa.Waiter
	for _, o := range []ssa.WaitOptions{{Gone: true}, {Rules: []ssa.Rule{never}}} {
		m, l := e.overLine(ssa.Options{})
		between(l, func() { listed <- struct{}{}; <-deleted })
		waiters = append(waiters, m.StartWait(t.Context(), target, o))
		<-listed
	}
	e.delete(definition)
	g.Eventually(func() error { _, err := e.m.Plan(t.Context(), objects, ssa.PlanOptions{}); return err }, "90s").Should(MatchError(ssa.ErrKindUnknown))
	close(deleted)
	for _, w := range waiters {
		g.Eventually(w.Done(), "90s").Should(BeClosed())
	}
	g.Expect(waiters[0].Err()).NotTo(HaveOccurred())
	g.Expect(waiters[0].Result().Targets[0].Status).To(Equal(status.NotFound))
	g.Expect(waiters[1].Err()).To(MatchError(ssa.ErrFailed))
	g.Expect(waiters[1].Result().Targets[0].Reason).To(Equal("Deleted"))
}

// SSA-76, N49: a version that ceases to be served during a wait is followed
// in one that is.
func TestWaitFollowsTheServedVersion(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	definition, objects := gadgetSet(e)
	e.apply(objects, ssa.PlanOptions{})
	m, l := e.overLine(ssa.Options{})
	id := ssa.IDOf(objects[1])
	between(l, func() {
		e.patch("x", definition, `[{"op":"replace","path":"/spec/versions/0/served","value":false}]`)
		v2 := objects[1].DeepCopy()
		v2.SetAPIVersion(id.Group + "/v2")
		e.patch("x", v2, `[{"op":"replace","path":"/spec/a","value":2}]`)
	})
	two := ssa.Rule{Group: id.Group, Kind: "Gadget", Evaluate: func(_ context.Context, o map[string]any) (status, message string, err error) {
		if a, _, _ := unstructured.NestedInt64(o, "spec", "a"); a != 2 {
			return "InProgress", "", nil
		}
		return "Current", "", nil
	}}
	_, err := m.Wait(t.Context(), []ssa.Target{{ID: id, Version: "v1"}}, ssa.WaitOptions{Rules: []ssa.Rule{two}, Timeout: 90 * time.Second})
	g.Expect(err).NotTo(HaveOccurred())
}

// SSA-76: an event whose object cannot be read is not lost.
func TestWaitReadsAgainWhatFailed(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	r := e.apply(e.objects(cm("")), ssa.PlanOptions{})
	m, l := e.overLine(ssa.Options{})
	watching, failures := make(chan struct{}), 0
	l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		switch {
		case r.URL.Query().Get("watch") != "":
			resp, err := send()
			select {
			case <-watching:
			default:
				close(watching)
			}
			return resp, err
		case strings.HasSuffix(r.URL.Path, "/configmaps/c") && failures < 1:
			failures++
			return answer(r, http.StatusBadRequest, nil, "")
		}
		return send()
	})
	w := m.StartWait(t.Context(), r.Targets(), ssa.WaitOptions{Gone: true})
	<-watching
	e.delete(e.objects(cm(""))[0])
	e.g.Eventually(w.Done(), "90s").Should(BeClosed())
	e.g.Expect(w.Err()).NotTo(HaveOccurred())
}

// F14, SSA-20, N49: an aggregated API without its server: its kinds are not
// known to be absent; others are applied, nothing of it is given up.
func TestF14AggregatedAPIDown(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	service := e.objects("apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: v1." + group + "}\nspec: {group: " + group + ", version: v1, service: {name: none, namespace: NS, port: 443}, insecureSkipTLSVerify: true, groupPriorityMinimum: 100, versionPriority: 100}\n")[0]
	e.createAs("x", service)
	t.Cleanup(func() { e.delete(service) })
	objects := e.objects(cm("") + "---\napiVersion: " + group + "/v1\nkind: Thing\nmetadata: {name: t, namespace: NS}\n")
	var p *ssa.Plan
	var err error
	g.Eventually(func() bool {
		p, err = e.m.Plan(t.Context(), objects, ssa.PlanOptions{DeferUnknownKinds: true})
		return errors.Is(err, ssa.ErrDiscovery)
	}, "90s").Should(BeTrue())
	g.Expect(errors.Is(err, ssa.ErrKindUnknown)).To(BeFalse())
	var pe *ssa.PlanError
	g.Expect(errors.As(err, &pe)).To(BeTrue())
	g.Expect(pe.Terminal()).To(BeFalse())
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{ContinueOnError: true})
	g.Expect(err).To(HaveOccurred())
	g.Expect(actions(r)).To(Equal(map[string]string{"ConfigMap/c": "created", "Thing/t": "notAttempted"}))
	dp, err := e.m.PlanDelete(t.Context(), ids(t, objects[1:]), ssa.DeleteOptions{})
	g.Expect(errors.Is(err, ssa.ErrDiscovery)).To(BeTrue())
	dr, err := e.m.Delete(t.Context(), dp, ssa.DeleteOptions{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(dr.Inventory().Contains(ssa.IDOf(objects[1]))).To(BeTrue())
}
