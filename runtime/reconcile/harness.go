// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/client"
	"github.com/gitops-kit/sdk/runtime/patch"
	"github.com/gitops-kit/sdk/runtime/queue"
	"github.com/gitops-kit/sdk/runtime/telemetry"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// harness runs the objects of one kind.
type harness[T Object] struct {
	kit    Kit
	r      Reconciler[T]
	o      Options[T]
	gvk    schema.GroupVersionKind
	kind   string
	owned  []string
	fields []durationField
	memory *memory
	marks  *markers
	parker *parker
	scope  *scopes
	index  *index
	now    func() time.Time

	qmu sync.Mutex
	q   *queue.Queue

	rmu     sync.Mutex
	running map[types.NamespacedName]*state
}

// Reconcile runs one object. It never returns an error: what went wrong is in
// the status, and the harness decides about the next run.
func (h *harness[T]) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	key := req.NamespacedName
	obj, delay, err := h.read(ctx, key)
	switch {
	case apierrors.IsNotFound(err):
		h.gone(ctx, key)
		return ctrl.Result{}, nil
	case err != nil:
		logf.FromContext(ctx).Error(err, "object not read")
		return h.requeue(key, h.memory.backoff(key, 0, ""), queue.Retry), nil
	case delay > 0:
		return h.requeue(key, delay, queue.Urgent), nil
	}
	if !obj.GetDeletionTimestamp().IsZero() {
		return h.finalize(ctx, key, obj), nil
	}
	if h.o.Static != nil && h.o.Static(obj) || suspended(obj) {
		h.parker.stop(key)
		h.kit.Metrics.State(h.kind, key.Namespace, key.Name, obj.GetConditions(), suspended(obj))
		return ctrl.Result{}, nil
	}
	if h.o.NoFinalizer == nil || !h.o.NoFinalizer(obj) {
		added, err := h.addFinalizer(ctx, obj)
		switch {
		case err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err):
			logf.FromContext(ctx).Error(err, "finalizer not added")
			return h.requeue(key, h.memory.backoff(key, obj.GetGeneration(), ""), queue.Retry), nil
		case err != nil || added:
			return h.requeue(key, time.Millisecond, queue.Urgent), nil //nolint:nilerr // a conflict: the next run reads anew
		}
	}
	if wait := h.throttle(key, obj); wait > 0 {
		return h.requeue(key, wait, queue.Urgent), nil
	}
	parked, stay := h.resume(key, obj)
	if stay {
		return ctrl.Result{}, nil
	}
	return h.run(ctx, key, obj, parked), nil
}

// read returns the object, or how long to wait for the cache to show our own
// last write.
func (h *harness[T]) read(ctx context.Context, key types.NamespacedName) (obj T, delay time.Duration, err error) {
	if obj, err = prototype[T](); err != nil {
		return obj, 0, err
	}
	if err = h.kit.Client.Get(ctx, key, obj); err != nil {
		return obj, 0, err
	}
	delay, live := h.memory.stale(key, obj.GetResourceVersion())
	if live {
		if obj, err = prototype[T](); err != nil {
			return obj, 0, err
		}
		err = h.kit.APIReader.Get(ctx, key, obj)
		return obj, 0, err
	}
	return obj, delay, nil
}

func (h *harness[T]) gone(ctx context.Context, key types.NamespacedName) {
	h.parker.stop(key)
	h.memory.forget(key)
	for _, k := range h.scope.pass(key, false) {
		h.enqueue(k, queue.Retry)
	}
	h.kit.Metrics.Delete(h.kind, key.Namespace, key.Name)
	if h.o.OnLeave != nil {
		h.o.OnLeave(ctx, key)
	}
}

func (h *harness[T]) addFinalizer(ctx context.Context, obj T) (bool, error) {
	before := obj.GetResourceVersion()
	res, err := patch.Metadata(ctx, h.kit.Client, obj, patch.Change{AddFinalizer: h.o.Finalizer}, patch.Options{FieldManager: h.o.FieldManager})
	if res.Written {
		h.memory.wrote(keyOf(obj), before)
	}
	return res.Written, err
}

// throttle delays runs that a token triggered when there are too many.
func (h *harness[T]) throttle(key types.NamespacedName, obj T) time.Duration {
	token, ok := pending(obj)
	if !ok {
		return 0
	}
	return h.memory.take(key, token, h.now())
}

// begin makes the shared state of a run.
func (h *harness[T]) begin(ctx context.Context, key types.NamespacedName, base, obj T) (context.Context, *state) {
	st := &state{kind: h.kind, metrics: h.kit.Metrics, telemetry: h.kit.Telemetry, start: h.now(), obj: obj, lastWrite: time.Now()}
	st.flushDue = h.memory.flushDue(key, h.kit.Config.StatusFlushInterval, st.start)
	st.copyBase = func() Object { return copyOf(Object(base)) }
	st.write = func(ctx context.Context, snapshot Object) error {
		_, err := h.patch(ctx, key, base, snapshot)
		if err == nil {
			st.obj.SetResourceVersion(base.GetResourceVersion())
		}
		return err
	}
	ctx = context.WithValue(ctx, stateKey{}, st)
	st.ictx, st.interrupt = context.WithCancel(ctx)
	h.rmu.Lock()
	if h.running == nil {
		h.running = map[types.NamespacedName]*state{}
	}
	h.running[key] = st
	h.rmu.Unlock()
	return ctx, st
}

func (h *harness[T]) done(key types.NamespacedName, st *state) {
	h.rmu.Lock()
	delete(h.running, key)
	h.rmu.Unlock()
	st.interrupt()
}

// run calls the author's Reconcile and applies the result rules.
func (h *harness[T]) run(ctx context.Context, key types.NamespacedName, base T, parked *parkedRun) ctrl.Result {
	obj := copyOf(base)
	ctx, scope := clients(ctx, parked)
	rctx, st := h.begin(ctx, key, base, obj)
	defer h.done(key, st)
	if parked != nil {
		st.resumeAt, st.resumed, st.start = parked.step, parked.waiter, parked.start
	}
	rctx, end := h.kit.Telemetry.Span(rctx, "reconcile "+h.kind, telemetry.String(telemetry.Kind, h.kind),
		telemetry.String(telemetry.Namespace, key.Namespace), telemetry.String(telemetry.Name, key.Name),
		telemetry.Int(telemetry.Generation, base.GetGeneration()))
	var res Result
	err := h.checkDurations(obj)
	if err == nil {
		var unmark func()
		if unmark, err = h.marks.begin(obj); err == nil {
			st.arm(rctx)
			res, err = h.safely(rctx, obj, h.r.Reconcile)
			unmark()
		}
	}
	st.end()
	end(err)
	return h.finish(ctx, &ending[T]{key: key, base: base, obj: obj, st: st, res: res, err: err, scope: scope})
}

// clients makes the scope that releases the run's clients when it ends; those of
// a parked run end with it.
func clients(ctx context.Context, parked *parkedRun) (context.Context, *client.Scope) {
	if parked != nil {
		parked.scope.Release()
	}
	return client.WithScope(ctx)
}

// safely recovers a panic. The stack goes to the log, the value nowhere.
func (h *harness[T]) safely(ctx context.Context, obj T, f func(context.Context, T) (Result, error)) (res Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p}
			h.kit.Metrics.Panic(h.kind)
			logf.FromContext(ctx).Error(err, "run panicked", "stack", string(debug.Stack()), "step", stateOf(ctx).step)
		}
	}()
	return f(ctx, obj)
}

// finalize cleans up after a deleted object and removes the finalizer.
func (h *harness[T]) finalize(ctx context.Context, key types.NamespacedName, base T) ctrl.Result {
	h.parker.stop(key)
	if !hasFinalizer(base, h.o.Finalizer) {
		return ctrl.Result{}
	}
	obj := copyOf(base)
	f, ok := h.r.(Finalizer[T])
	if ok {
		ctx, scope := clients(ctx, nil)
		rctx, st := h.begin(ctx, key, base, obj)
		st.arm(rctx)
		res, err := h.safely(rctx, obj, f.Finalize)
		st.end()
		h.done(key, st)
		if err != nil || res.waiter != nil || res.After > 0 {
			return h.keep(ctx, &ending[T]{key: key, base: base, obj: obj, st: st, res: res, err: err, scope: scope})
		}
		scope.Release()
		h.emit(st.events)
	}
	_, err := patch.Metadata(ctx, h.kit.Client, base, patch.Change{RemoveFinalizer: h.o.Finalizer}, patch.Options{FieldManager: h.o.FieldManager})
	switch {
	case err == nil || apierrors.IsNotFound(err):
		h.memory.forget(key)
		h.kit.Metrics.Delete(h.kind, key.Namespace, key.Name)
		return ctrl.Result{}
	case apierrors.IsConflict(err):
		return h.requeue(key, 50*time.Millisecond, queue.Urgent)
	}
	logf.FromContext(ctx).Error(err, "finalizer not removed")
	return h.requeue(key, h.memory.backoff(key, base.GetGeneration(), ""), queue.Retry)
}

// keep ends a finalization that is not complete.
func (h *harness[T]) keep(ctx context.Context, e *ending[T]) ctrl.Result {
	if e.res.waiter != nil {
		e.res.waiter.Stop() // a deletion asks again instead of being parked
	}
	if e.err == nil {
		e.scope.Release()
		h.emit(e.st.events)
		return h.requeue(e.key, positive(e.res.After, h.kit.Config.RequeueDependency), queue.Urgent)
	}
	return h.finish(ctx, e)
}

// patch writes the status of obj on top of base and counts it.
func (h *harness[T]) patch(ctx context.Context, key types.NamespacedName, base T, obj Object) (bool, error) {
	before := base.GetResourceVersion()
	res, err := patch.Status(ctx, h.kit.Client, base, obj, patch.Options{
		Reader: h.kit.APIReader, FieldManager: h.o.FieldManager, OwnedConditions: h.owned,
		Pruned: func(fields []string) { h.pruned(ctx, fields) },
	})
	if res.Written {
		h.memory.wrote(key, before)
	}
	var conflict *patch.StatusConflictError
	switch {
	case err == nil && res.Requests > 0:
		h.kit.Metrics.StatusWrite(h.kind, "written")
	case errors.Is(err, patch.ErrSuperseded) || errors.As(err, &conflict):
		h.kit.Metrics.StatusWrite(h.kind, "conflict")
	case err != nil:
		h.kit.Metrics.StatusWrite(h.kind, "failed")
	}
	return res.Written, err
}

// pruned says once per kind that the installed CRD lacks status fields.
func (h *harness[T]) pruned(ctx context.Context, fields []string) {
	if h.memory.once("pruned " + fmt.Sprint(fields)) {
		logf.FromContext(ctx).Info("the installed CRD does not have these status fields", "fields", fields)
	}
}

// requeue queues the object again after d.
func (h *harness[T]) requeue(key types.NamespacedName, d time.Duration, class queue.Class) ctrl.Result {
	if d <= 0 {
		return ctrl.Result{}
	}
	h.qmu.Lock()
	q := h.q
	h.qmu.Unlock()
	if q == nil {
		return ctrl.Result{RequeueAfter: d}
	}
	q.AddClassAfter(ctrl.Request{NamespacedName: key}, class, d)
	return ctrl.Result{}
}

// wake queues an object whose waiter is done.
func (h *harness[T]) wake(key types.NamespacedName) {
	h.qmu.Lock()
	q := h.q
	h.qmu.Unlock()
	if q != nil {
		q.AddClass(ctrl.Request{NamespacedName: key}, queue.Urgent)
	}
}

func hasFinalizer(o Object, name string) bool {
	for _, f := range o.GetFinalizers() {
		if f == name {
			return true
		}
	}
	return false
}

func copyOf[T Object](o T) T {
	c, ok := o.DeepCopyObject().(T)
	if !ok {
		return o
	}
	return c
}

func keyOf(o Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

func (h *harness[T]) checkDurations(obj T) error {
	bounds := h.o.Bounds
	if b, ok := any(obj).(bounded); ok && bounds == nil {
		bounds = b.DurationBounds()
	}
	if err := checkDurations(obj, h.fields, bounds); err != nil {
		return Terminal(meta.InvalidSpecReason, err)
	}
	return nil
}
