// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// RT-30: the finalizer first, in a write of its own, without a side effect.
func TestFinalizerFirst(t *testing.T) {
	g := NewWithT(t)
	o := newApp()
	o.Finalizers = nil
	ran := 0
	r := newRig(t, o, &author{run: func(context.Context, *app) (reconcile.Result, error) { ran++; return reconcile.Result{}, nil }}, reconcile.Options[*app]{})
	res := r.run(t)
	g.Expect(ran).To(BeZero())
	g.Expect(res.RequeueAfter).To(BeNumerically(">", 0))
	g.Expect(r.get(t).Finalizers).To(Equal([]string{meta.Finalizer}))
	r.run(t)
	g.Expect(ran).To(Equal(1))
}

// RT-30, WIRE-18: a suspended object is left alone; RT-31: it is still finalized.
func TestSuspended(t *testing.T) {
	g := NewWithT(t)
	o := newApp()
	o.Spec.Suspend = true
	finalized := 0
	r := newRig(t, o, &author{
		run:      func(context.Context, *app) (reconcile.Result, error) { panic("not reached") },
		finalize: func(context.Context, *app) (reconcile.Result, error) { finalized++; return reconcile.Result{}, nil },
	}, reconcile.Options[*app]{})
	g.Expect(r.run(t)).To(Equal(ctrl.Result{}))
	g.Expect(r.writes).To(BeZero())
	g.Expect(r.c.Delete(t.Context(), r.get(t))).To(Succeed())
	g.Expect(r.run(t)).To(Equal(ctrl.Result{}))
	g.Expect(finalized).To(Equal(1))
	g.Expect(apierrors.IsNotFound(r.c.Get(t.Context(), r.key, &app{}))).To(BeTrue())
	g.Expect(r.run(t)).To(Equal(ctrl.Result{}), "gone")
}

// RT-31: an error keeps the finalizer.
func TestFinalizeFails(t *testing.T) {
	g := NewWithT(t)
	fail := errors.New("still in use")
	a := &author{finalize: func(context.Context, *app) (reconcile.Result, error) {
		return reconcile.Result{}, reconcile.WithReason("PruneFailed", fail)
	}}
	r := newRig(t, newApp(), a, reconcile.Options[*app]{})
	g.Expect(r.c.Delete(t.Context(), r.get(t))).To(Succeed())
	res := r.run(t)
	g.Expect(res.RequeueAfter).To(Equal(750 * time.Millisecond))
	got := r.get(t)
	g.Expect(got.Finalizers).To(HaveLen(1))
	g.Expect(conditions.Reason(got, meta.ReadyCondition)).To(Equal("PruneFailed"))
	res = r.run(t)
	g.Expect(res.RequeueAfter).To(Equal(1500 * time.Millisecond))
	a.finalize = nil
	r.run(t)
	g.Expect(apierrors.IsNotFound(r.c.Get(t.Context(), r.key, &app{}))).To(BeTrue())
}

// DUR-3, RT-30: durations are checked before step one.
func TestInvalidDuration(t *testing.T) {
	g := NewWithT(t)
	o := newApp()
	o.Spec.Timeout = meta.NewDuration(time.Millisecond)
	r := newRig(t, o, &author{run: func(context.Context, *app) (reconcile.Result, error) { panic("not reached") }}, reconcile.Options[*app]{})
	g.Expect(r.run(t)).To(Equal(ctrl.Result{}), "no requeue")
	got := r.get(t)
	g.Expect(conditions.IsStalled(got)).To(BeTrue())
	g.Expect(conditions.Reason(got, meta.ReadyCondition)).To(Equal(meta.InvalidSpecReason))
	g.Expect(conditions.Message(got, meta.ReadyCondition)).To(Equal(`spec.timeout: "1ms" must be between 1s and 8760h`))
	g.Expect(got.Status.ObservedGeneration).To(Equal(int64(1)))
}

// WIRE-22, RT-34: a run without change writes nothing and emits nothing, but
// flushes counters when they are due.
func TestNoChange(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	a := &author{run: func(ctx context.Context, o *app) (reconcile.Result, error) {
		if reconcile.FlushDue(ctx) {
			o.Status.Count++
		}
		return reconcile.NoChange(), nil
	}}
	r := newRig(t, newApp(), a, reconcile.Options[*app]{})
	r.h.SetNow(func() time.Time { return now })
	r.run(t)
	g.Expect(r.writes).To(Equal(1), "the first run makes it Ready")
	for range 3 {
		res := r.run(t)
		g.Expect(res.RequeueAfter).To(Equal(time.Minute))
	}
	g.Expect(r.writes).To(Equal(1))
	now = now.Add(2 * time.Hour)
	r.run(t)
	g.Expect(r.writes).To(Equal(2))
	g.Expect(r.get(t).Status.Count).To(Equal(int64(1)))
	g.Expect(r.drain()).To(HaveLen(1))
}

// REQ-2, RT-33: force requests are recorded by the write that ends the run.
func TestRequests(t *testing.T) {
	g := NewWithT(t)
	o := newApp()
	o.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "1", meta.ForceRequestAnnotation: "1"}
	var forced []bool
	r := newRig(t, o, &author{run: func(ctx context.Context, o *app) (reconcile.Result, error) {
		forced = append(forced, reconcile.Requests(ctx).Handle(meta.ForceRequestAnnotation, &o.Status.LastForce))
		return reconcile.Result{}, errors.New("after forcing")
	}}, reconcile.Options[*app]{})
	r.run(t)
	r.run(t)
	g.Expect(forced).To(Equal([]bool{true, false}))
	got := r.get(t)
	g.Expect(got.Status.LastForce + got.Status.LastHandledReconcileAt).To(Equal("11"))
}

// REQ-3: five token-triggered runs at once, then one per second; none is lost.
func TestTokenBucket(t *testing.T) {
	g := NewWithT(t)
	now, runs := time.Now(), 0
	r := newRig(t, newApp(), &author{run: func(context.Context, *app) (reconcile.Result, error) { runs++; return reconcile.Success("ok"), nil }}, reconcile.Options[*app]{})
	r.h.SetNow(func() time.Time { return now })
	var last ctrl.Result
	for i := range 8 {
		o := r.get(t)
		o.Annotations = map[string]string{meta.ReconcileRequestAnnotation: fmt.Sprint(i)}
		g.Expect(r.c.Update(t.Context(), o)).To(Succeed())
		last = r.run(t)
	}
	g.Expect(runs).To(Equal(5))
	g.Expect(last.RequeueAfter).To(BeNumerically("~", time.Second, 100*time.Millisecond))
	now = now.Add(time.Second)
	r.run(t)
	g.Expect(runs).To(Equal(6))
	g.Expect(r.get(t).Status.LastHandledReconcileAt).To(Equal("7"))
}

// RT-34: a checkpoint stores data, and neither Ready=True, nor the generation,
// nor the token.
func TestCheckpoint(t *testing.T) {
	g := NewWithT(t)
	var r *rig
	r = newRig(t, newApp(), &author{run: func(ctx context.Context, o *app) (reconcile.Result, error) {
		o.Status.Applied = "intended"
		o.Status.ObservedGeneration, o.Status.LastHandledReconcileAt = 1, "now" // an author who should not
		reconcile.Progress(ctx, "applying %d", 1)
		if err := reconcile.Checkpoint(ctx); err != nil {
			return reconcile.Result{}, err
		}
		mid := r.get(t)
		g.Expect(mid.Status.Applied).To(Equal("intended"))
		g.Expect(mid.Status.ObservedGeneration).To(Equal(int64(-1)))
		g.Expect(mid.Status.LastHandledReconcileAt).To(BeEmpty())
		g.Expect(conditions.IsUnknown(mid, meta.ReadyCondition)).To(BeTrue())
		g.Expect(conditions.Message(mid, meta.ReconcilingCondition)).To(Equal("applying 1"))
		o.Status.Applied = "done"
		return reconcile.Success("ok"), nil
	}}, reconcile.Options[*app]{})
	r.run(t)
	g.Expect(r.writes).To(Equal(2))
	got := r.get(t)
	g.Expect(got.Status.Applied).To(Equal("done"))
	g.Expect(conditions.IsReady(got)).To(BeTrue())
	g.Expect(errors.Is(reconcile.Checkpoint(t.Context()), reconcile.ErrNoRun)).To(BeTrue())
}

// RT-40: events follow the write; those of a run that was superseded are dropped.
func TestEventsFollowTheWrite(t *testing.T) {
	g := NewWithT(t)
	fail := true
	a := &author{run: func(ctx context.Context, o *app) (reconcile.Result, error) {
		reconcile.Emit(ctx, events.Event{Type: events.Normal, Reason: "Applied", Message: "x created", Metadata: map[string]string{"revision": "r"}})
		return reconcile.Success("ok"), nil
	}}
	r := newRig(t, newApp(), a, reconcile.Options[*app]{}, func(k *reconcile.Kit) {
		k.Client = interceptor.NewClient(k.Client.(client.WithWatch), interceptor.Funcs{
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
				if fail {
					return apierrors.NewForbidden(metav1.SchemeGroupVersion.WithResource("apps").GroupResource(), "a", errors.New("no"))
				}
				return c.SubResource(sub).Patch(ctx, o, p, opts...)
			},
		})
	})
	res := r.run(t)
	g.Expect(res.RequeueAfter).To(Equal(750 * time.Millisecond))
	fail = false
	r.run(t)
	var texts []string
	for _, e := range r.drain() {
		texts = append(texts, e.Payload.Reason+" "+e.Payload.Message)
	}
	g.Expect(texts).To(Equal([]string{"Applied x created", "Succeeded ok"}), "once, although the run was repeated")
}

// RT-30: a cache that has not seen our own write delays the run, then is read
// around.
func TestStaleCache(t *testing.T) {
	g := NewWithT(t)
	var old *app
	runs := 0
	r := newRig(t, newApp(), &author{run: func(context.Context, *app) (reconcile.Result, error) {
		runs++
		return reconcile.Success("ok %d", runs), nil
	}},
		reconcile.Options[*app]{}, func(k *reconcile.Kit) {
			k.Client = interceptor.NewClient(k.Client.(client.WithWatch), interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
					if old != nil {
						old.DeepCopyInto(o.(*app))
						return nil
					}
					return c.Get(ctx, key, o, opts...)
				},
			})
		})
	old = r.get(t)
	r.run(t)
	g.Expect(runs).To(Equal(1))
	for _, d := range []time.Duration{50, 100, 200} {
		g.Expect(r.run(t).RequeueAfter).To(Equal(d * time.Millisecond))
	}
	g.Expect(runs).To(Equal(1))
	r.run(t)
	g.Expect(runs).To(Equal(2), "one live read")
}

// RT-38: the delay doubles up to its bound; a new generation starts anew.
func TestBackoff(t *testing.T) {
	g := NewWithT(t)
	r := newRig(t, newApp(), returns(reconcile.Result{}, errors.New("x")), reconcile.Options[*app]{},
		func(k *reconcile.Kit) { k.Config.MinRetryDelay, k.Config.MaxRetryDelay = time.Second, 5*time.Second })
	var got []time.Duration
	for range 5 {
		got = append(got, r.run(t).RequeueAfter/time.Second)
	}
	g.Expect(got).To(Equal([]time.Duration{1, 2, 4, 5, 5}))
	o := r.get(t)
	o.Generation = 2
	g.Expect(r.c.Update(t.Context(), o)).To(Succeed())
	g.Expect(r.run(t).RequeueAfter).To(Equal(time.Second))
}

// RT-32: shutdown writes no status and emits no event.
func TestShutdown(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	r := newRig(t, newApp(), &author{run: func(ctx context.Context, _ *app) (reconcile.Result, error) {
		cancel()
		return reconcile.Result{}, fmt.Errorf("apply: %w", ctx.Err())
	}}, reconcile.Options[*app]{})
	_, err := r.h.Reconcile(ctx, ctrl.Request{NamespacedName: r.key})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.writes).To(BeZero())
	g.Expect(r.drain()).To(BeEmpty())
}

// waiter is finished by the test.
type waiter struct {
	done    chan struct{}
	stopped bool
	verdict error
}

func newWaiter() *waiter                { return &waiter{done: make(chan struct{})} }
func (w *waiter) Done() <-chan struct{} { return w.done }
func (w *waiter) Stop()                 { w.stopped = true; w.finish(nil) }
func (w *waiter) finish(err error) {
	w.verdict = err
	select {
	case <-w.done:
	default:
		close(w.done)
	}
}

// parks is an author with three steps, the second of which parks.
type parks struct {
	log []string
	w   *waiter
}

func (p *parks) Reconcile(ctx context.Context, o *app) (reconcile.Result, error) {
	type step = reconcile.Step[*app]
	return reconcile.Do(ctx, o,
		step{Name: "apply", Run: func(context.Context, *app) (reconcile.Result, error) {
			p.log = append(p.log, "apply")
			o.Status.Applied = o.Spec.Text
			return reconcile.Result{}, nil
		}},
		step{Name: "health", Run: func(ctx context.Context, _ *app) (reconcile.Result, error) {
			if w, ok := reconcile.Resumed[*waiter](ctx); ok {
				p.log = append(p.log, "resumed")
				return reconcile.Result{}, w.verdict
			}
			p.log = append(p.log, "park")
			p.w = newWaiter()
			return reconcile.Park(p.w), nil
		}},
		step{Name: "last", Run: func(context.Context, *app) (reconcile.Result, error) {
			p.log = append(p.log, "last")
			return reconcile.Success("healthy"), nil
		}})
}

// RT-36: a parked run holds no worker, goes on at its step, and is ended by what
// makes it pointless.
func TestPark(t *testing.T) {
	setup := func(t *testing.T, o reconcile.Options[*app]) (*rig, *parks, *WithT) {
		p := &parks{}
		r := newRig(t, newApp(), &author{run: p.Reconcile}, o)
		r.h.Start()
		t.Cleanup(r.h.Stop)
		r.run(t)
		g := NewWithT(t)
		g.Expect(r.h.ParkedRuns()).To(Equal(1))
		mid := r.get(t)
		g.Expect(conditions.IsReconciling(mid)).To(BeTrue())
		g.Expect(conditions.IsUnknown(mid, meta.ReadyCondition)).To(BeTrue())
		r.run(t)
		g.Expect(p.log).To(Equal([]string{"apply", "park"}), "triggers without a change leave it parked")
		return r, p, g
	}
	change := func(t *testing.T, r *rig, f func(*app)) {
		o := r.get(t)
		f(o)
		NewWithT(t).Expect(r.c.Update(t.Context(), o)).To(Succeed())
	}
	t.Run("Resumes", func(t *testing.T) {
		r, p, g := setup(t, reconcile.Options[*app]{})
		p.w.finish(nil)
		req, _ := r.h.Next() // the waiter queues the object
		g.Expect(req.NamespacedName).To(Equal(r.key))
		r.h.Done(req)
		r.run(t)
		g.Expect(p.log).To(Equal([]string{"apply", "park", "resumed", "last"}))
		g.Expect(conditions.IsReady(r.get(t))).To(BeTrue())
		g.Expect(r.h.ParkedRuns()).To(BeZero())
	})
	t.Run("Fails", func(t *testing.T) {
		r, p, g := setup(t, reconcile.Options[*app]{})
		p.w.finish(reconcile.WithReason("HealthCheckFailed", errors.New("timeout")))
		r.run(t)
		g.Expect(conditions.Reason(r.get(t), meta.ReadyCondition)).To(Equal("HealthCheckFailed"))
	})
	for name, f := range map[string]func(*app){
		"Generation": func(o *app) { o.Generation = 2 },
		"Token":      func(o *app) { o.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "x"} },
		"Suspension": func(o *app) { o.Spec.Suspend = true },
	} {
		t.Run(name, func(t *testing.T) {
			r, p, g := setup(t, reconcile.Options[*app]{})
			first := p.w
			change(t, r, f)
			r.run(t)
			g.Expect(first.stopped).To(BeTrue())
			if name == "Suspension" {
				g.Expect(r.h.ParkedRuns()).To(BeZero())
			} else {
				g.Expect(p.log).To(Equal([]string{"apply", "park", "apply", "park"}), "from step one")
			}
		})
	}
	t.Run("Deletion", func(t *testing.T) {
		r, p, g := setup(t, reconcile.Options[*app]{})
		g.Expect(r.c.Delete(t.Context(), r.get(t))).To(Succeed())
		r.run(t)
		g.Expect(p.w.stopped).To(BeTrue())
		g.Expect(r.h.ParkedRuns()).To(BeZero())
	})
	for _, preempt := range []bool{false, true} {
		t.Run(fmt.Sprint("Revision", preempt), func(t *testing.T) {
			r, p, g := setup(t, reconcile.Options[*app]{ResumeKey: func(o *app) string { return o.Spec.Text }, PreemptOnNewRevision: preempt})
			first := p.w
			change(t, r, func(o *app) { o.Spec.Text = "new" })
			r.run(t)
			g.Expect(first.stopped).To(Equal(preempt))
			if !preempt {
				p.w.finish(nil)
				r.run(t)
				g.Expect(p.log).To(Equal([]string{"apply", "park", "apply", "park"}), "the verdict is about an older revision")
			}
		})
	}
}

// RT-36, D14: 1,000 parked objects use no worker and no goroutine each.
func TestParkedRunsAreCheap(t *testing.T) {
	g := NewWithT(t)
	p := &parks{}
	r := newRig(t, nil, &author{run: p.Reconcile}, reconcile.Options[*app]{})
	r.h.Start()
	t.Cleanup(r.h.Stop)
	before := goruntime.NumGoroutine()
	for i := range 1000 {
		o := newApp()
		o.Name, o.UID = fmt.Sprintf("app-%d", i), types.UID(fmt.Sprint(i))
		g.Expect(r.c.Create(t.Context(), o)).To(Succeed())
		_, err := r.h.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(o)})
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(r.h.ParkedRuns()).To(Equal(1000))
	g.Expect(goruntime.NumGoroutine() - before).To(BeNumerically("<", 20))
}

// COND-10, RT-32: the classification never looks at text.
func TestWaitingIsNotTerminal(t *testing.T) {
	g := NewWithT(t)
	err := reconcile.WithReason("Own", reconcile.Waiting("terminal error stalled"))
	r := newRig(t, newApp(), returns(reconcile.Result{}, err), reconcile.Options[*app]{})
	g.Expect(r.run(t).RequeueAfter).To(Equal(30 * time.Second))
	g.Expect(conditions.Reason(r.get(t), meta.ReadyCondition)).To(Equal("Own"))
	g.Expect(reconcile.Terminal("x", nil)).To(Succeed())
	g.Expect(reconcile.WithReason("x", nil)).To(Succeed())
}
