// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/conditions/check"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/internal/testapi"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

type app = testapi.App

// rig is a harness over an in-memory API.
type rig struct {
	c      client.WithWatch
	h      *reconcile.Harness[*app]
	writes int // of the status
	sent   []events.Record
	drain  func() []events.Record
	key    types.NamespacedName
}

// sink keeps records; events are delivered when drained.
type sink struct{ out chan events.Record }

func (s *sink) Name() string { return "test" }
func (s *sink) Send(_ context.Context, r *events.Record) error {
	s.out <- *r
	return nil
}

// author is a reconciler made of functions.
type author struct {
	run      func(context.Context, *app) (reconcile.Result, error)
	finalize func(context.Context, *app) (reconcile.Result, error)
}

func (a *author) Reconcile(ctx context.Context, o *app) (reconcile.Result, error) {
	return a.run(ctx, o)
}

func (a *author) Finalize(ctx context.Context, o *app) (reconcile.Result, error) {
	if a.finalize == nil {
		return reconcile.Result{}, nil
	}
	return a.finalize(ctx, o)
}

func newApp() *app {
	return &app{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "app", Generation: 1, UID: "uid-1",
			Finalizers: []string{meta.Finalizer},
		},
		Spec:   testapi.AppSpec{Interval: meta.Duration{Duration: time.Minute}},
		Status: testapi.AppStatus{ObservedGeneration: -1},
	}
}

func newRig(t *testing.T, o *app, a *author, opts reconcile.Options[*app], tweak ...func(*reconcile.Kit)) *rig {
	t.Helper()
	g := NewWithT(t)
	s := runtime.NewScheme()
	g.Expect(testapi.AddToScheme(s)).To(Succeed())
	r := &rig{key: types.NamespacedName{Namespace: "default", Name: "app"}}
	b := fake.NewClientBuilder().WithScheme(s).WithStatusSubresource(&app{}).WithInterceptorFuncs(interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, p client.Patch, o ...client.SubResourcePatchOption) error {
			r.writes++
			return c.SubResource(sub).Patch(ctx, obj, p, o...)
		},
	})
	if o != nil {
		b = b.WithObjects(o)
	}
	r.c = b.Build()
	out := make(chan events.Record, 100)
	rec := events.New(events.Options{Controller: "test-controller", Scheme: s, Sinks: []events.Sink{&sink{out}}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = rec.Start(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	k := reconcile.Kit{Client: r.c, APIReader: r.c, Events: rec, Name: "test-controller"}
	k.Config.StatusFlushInterval = time.Hour
	for _, f := range tweak {
		f(&k)
	}
	var err error
	r.h, err = reconcile.NewHarness[*app](k, a, opts)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		cancel()
		<-done
		close(out)
		for e := range out {
			r.sent = append(r.sent, e)
		}
	})
	r.drain = func() []events.Record {
		cancel()
		<-done
		for {
			select {
			case e := <-out:
				r.sent = append(r.sent, e)
			default:
				return r.sent
			}
		}
	}
	return r
}

func (r *rig) run(t *testing.T) ctrl.Result {
	t.Helper()
	res, err := r.h.Reconcile(t.Context(), ctrl.Request{NamespacedName: r.key})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return res
}

func (r *rig) get(t *testing.T) *app {
	t.Helper()
	o := &app{}
	NewWithT(t).Expect(r.c.Get(t.Context(), r.key, o)).To(Succeed())
	return o
}

func returns(res reconcile.Result, err error) *author {
	return &author{run: func(context.Context, *app) (reconcile.Result, error) { return res, err }}
}

// COND-9, RT-32, RT-34, RT-38: outcome of a run by its result or error.
func TestOutcomes(t *testing.T) {
	boom := errors.New("boom")
	cases := map[string]struct {
		reason   string
		author   *author
		ready    metav1.ConditionStatus
		why      string
		message  string
		stalled  bool
		retrying bool
		observed int64
		after    time.Duration
		event    string
	}{
		"Success": {
			reason: "Ready and done until the interval is over", author: returns(reconcile.Success("applied %s", "x"), nil),
			ready: metav1.ConditionTrue, why: "Succeeded", message: "applied x", observed: 1, after: time.Minute, event: "Normal Succeeded applied x",
		},
		"OwnReason": {
			reason: "the author names the reason", author: returns(reconcile.Success("ok").WithReason("ReconciliationSucceeded"), nil),
			ready: metav1.ConditionTrue, why: "ReconciliationSucceeded", message: "ok", observed: 1, after: time.Minute, event: "Normal ReconciliationSucceeded ok",
		},
		"After": {
			reason: "a result may ask for an earlier run", author: returns(reconcile.Result{Message: "ok", After: time.Second}, nil),
			ready: metav1.ConditionTrue, why: "Succeeded", message: "ok", observed: 1, after: time.Second, event: "Normal Succeeded ok",
		},
		"Waiting": {
			reason: "waits for another object", author: returns(reconcile.Result{}, reconcile.Waiting("no artifact")),
			ready: metav1.ConditionFalse, why: "DependencyNotReady", message: "no artifact", retrying: true, observed: -1, after: 30 * time.Second, event: "Trace DependencyNotReady no artifact",
		},
		"Transient": {
			reason: "plain errors are retried", author: returns(reconcile.Result{}, boom),
			ready: metav1.ConditionFalse, why: "Failed", message: "boom", retrying: true, observed: -1, after: 750 * time.Millisecond, event: "Warning Failed boom",
		},
		"Reason": {
			reason: "the outermost reason counts", author: returns(reconcile.Result{}, reconcile.WithReason("Outer", reconcile.WithReason("Inner", boom))),
			ready: metav1.ConditionFalse, why: "Outer", message: "boom", retrying: true, observed: -1, after: 750 * time.Millisecond, event: "Warning Outer boom",
		},
		"Terminal": {
			reason: "nothing is retried", author: returns(reconcile.Result{}, reconcile.Terminal("InvalidPath", boom)),
			ready: metav1.ConditionFalse, why: "InvalidPath", message: "boom", stalled: true, observed: 1, event: "Warning InvalidPath boom",
		},
		"TerminalJoined": {
			reason: "terminal anywhere in the tree", author: returns(reconcile.Result{}, errors.Join(errors.New("a"), fmt.Errorf("b: %w", reconcile.Terminal("X", boom)))),
			ready: metav1.ConditionFalse, why: "X", message: "a\nb: boom", stalled: true, observed: 1, event: "Warning X a\nb: boom",
		},
		"Panic": {
			reason: "a panic is a transient error without its value", author: &author{run: func(context.Context, *app) (reconcile.Result, error) { panic("secret") }},
			ready: metav1.ConditionFalse, why: "ReconcilePanic", message: "panic during the run", retrying: true, observed: -1, after: 750 * time.Millisecond, event: "Warning ReconcilePanic panic during the run",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := newApp()
			o.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "now"}
			r := newRig(t, o, tc.author, reconcile.Options[*app]{})
			res := r.run(t)
			got := r.get(t)
			ready := conditions.Get(got, meta.ReadyCondition)
			g.Expect(ready).NotTo(BeNil(), tc.reason)
			g.Expect(ready.Status).To(Equal(tc.ready), tc.reason)
			g.Expect(ready.Reason).To(Equal(tc.why), tc.reason)
			g.Expect(ready.Message).To(Equal(tc.message), tc.reason)
			g.Expect(conditions.IsStalled(got)).To(Equal(tc.stalled), tc.reason)
			g.Expect(conditions.Reason(got, meta.ReconcilingCondition) == meta.ProgressingWithRetryReason).To(Equal(tc.retrying), tc.reason)
			g.Expect(got.Status.ObservedGeneration).To(Equal(tc.observed), tc.reason)
			g.Expect(got.Status.LastHandledReconcileAt).To(Equal("now"), "RT-33: the token is recorded in every case")
			g.Expect(check.Errors(check.Object(got))).To(BeEmpty(), tc.reason)
			g.Expect(res.RequeueAfter).To(Equal(tc.after), tc.reason)
			g.Expect(r.writes).To(Equal(1), "one status write per run")
			var texts []string
			for _, e := range r.drain() {
				texts = append(texts, fmt.Sprintf("%s %s %s", e.Type, e.Payload.Reason, e.Payload.Message))
			}
			g.Expect(texts).To(Equal([]string{tc.event}), tc.reason)
		})
	}
}
