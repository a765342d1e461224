// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/client"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/patch"
	"github.com/gitops-kit/sdk/runtime/queue"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// lastWriteTime bounds the status write of a run that shutdown interrupted.
const lastWriteTime = 5 * time.Second

// ending is a run whose author has returned.
type ending[T Object] struct {
	key       types.NamespacedName
	base, obj T
	st        *state
	res       Result
	err       error
	scope     *client.Scope
}

// finish applies the result rules, writes the status, emits events and queues
// the next run.
func (h *harness[T]) finish(ctx context.Context, e *ending[T]) ctrl.Result {
	outcome := classify(ctx, e.res, e.err)
	took := h.now().Sub(e.st.start)
	log := logf.FromContext(ctx)
	if outcome == Aborted {
		e.scope.Release()
		return ctrl.Result{}
	}
	if outcome == Parked {
		return h.park(ctx, e)
	}
	defer e.scope.Release()
	h.kit.Metrics.Reconcile(h.kind, e.key.Namespace, e.key.Name, took)
	s := h.summary(e, outcome, took)
	h.rules(e, s)
	for _, r := range e.st.requests {
		meta.RecordRequest(e.obj, r.annotation, r.last)
	}
	if h.o.Summarize != nil {
		h.o.Summarize(e.obj, s)
	}
	h.log(ctx, e, s)
	if err := h.store(ctx, e, s); err != nil {
		switch {
		case errors.Is(err, patch.ErrSuperseded):
			h.memory.drop(e.key)
			return h.requeue(e.key, time.Millisecond, queue.Urgent)
		case apierrors.IsNotFound(err):
			h.memory.drop(e.key)
			return ctrl.Result{}
		}
		log.Error(err, "status not written")
		h.memory.hold(e.key, e.base.GetGeneration(), tokenOf(e.obj), h.eventsOf(e, s))
		return h.requeue(e.key, h.memory.backoff(e.key, e.base.GetGeneration(), tokenOf(e.obj)), queue.Retry)
	}
	h.emit(h.memory.held(e.key, e.base.GetGeneration(), tokenOf(e.obj)))
	h.emit(h.eventsOf(e, s))
	h.kit.Metrics.State(h.kind, e.key.Namespace, e.key.Name, e.obj.GetConditions(), suspended(e.obj))
	return h.next(e, s)
}

// summary computes reason, message and the next run.
func (h *harness[T]) summary(e *ending[T], outcome Outcome, took time.Duration) Summary {
	s := Summary{Outcome: outcome, Err: e.err, Took: took, WasReady: conditions.IsReady(e.base)}
	_, token := pending(e.base)
	generation := observedField(e.base)
	s.Changed = token || generation != nil && *generation != e.base.GetGeneration() ||
		s.WasReady != (outcome == Succeeded || outcome == Unchanged)
	switch outcome {
	case Succeeded, Unchanged:
		s.Reason, s.Message = e.res.Reason, e.res.Message
		if outcome == Unchanged && s.Message == "" && conditions.IsTrue(e.base, meta.ReadyCondition) {
			s.Reason, s.Message = conditions.Reason(e.base, meta.ReadyCondition), conditions.Message(e.base, meta.ReadyCondition)
		}
		if s.Reason == "" {
			s.Reason = meta.SucceededReason
		}
		if s.Message == "" {
			s.Message = "reconciliation succeeded"
		}
	default:
		s.Reason, s.Message = reasonOf(e.err), e.err.Error()
	}
	s.Next = h.delay(e, outcome)
	return s
}

// delay is the time until the next run, without jitter of retries.
func (h *harness[T]) delay(e *ending[T], outcome Outcome) time.Duration {
	switch outcome {
	case Succeeded, Unchanged:
		h.memory.reset(e.key)
		if e.res.After > 0 {
			return e.res.After
		}
		if i, ok := any(e.obj).(interval); ok {
			return h.kit.Jitter.Apply(i.RequeueInterval().Duration)
		}
	case Waits:
		var w *WaitingError
		if errors.As(e.err, &w) && w.After > 0 {
			return w.After
		}
		return h.kit.Config.RequeueDependency
	case Transient:
		if r, ok := any(e.obj).(retrier); ok && r.RetryInterval().Duration > 0 {
			return r.RetryInterval().Duration
		}
		return h.memory.backoff(e.key, e.base.GetGeneration(), tokenOf(e.obj))
	case Stalled:
		h.memory.reset(e.key)
	}
	return 0
}

// rules makes the conditions, the observed generation and the handled token of
// the outcome.
func (h *harness[T]) rules(e *ending[T], s Summary) {
	o := e.obj
	switch s.Outcome {
	case Succeeded, Unchanged:
		conditions.Delete(o, meta.ReconcilingCondition, meta.StalledCondition)
		conditions.MarkTrue(o, meta.ReadyCondition, s.Reason, "%s", s.Message)
		observe(o)
	case Stalled:
		conditions.MarkStalled(o, s.Reason, "%s", s.Message)
		conditions.MarkFalse(o, meta.ReadyCondition, s.Reason, "%s", s.Message)
		observe(o)
	default:
		conditions.MarkReconciling(o, meta.ProgressingWithRetryReason, "%s", s.Message)
		conditions.MarkFalse(o, meta.ReadyCondition, s.Reason, "%s", s.Message)
	}
	if handled := handledField(o); handled != nil {
		if token, ok := meta.ReconcileRequested(e.base.GetAnnotations()); ok {
			*handled = token
		}
	}
}

func observe(o Object) {
	if p := observedField(o); p != nil {
		*p = o.GetGeneration()
	}
}

// store writes the status. A run without change writes only what the rules
// changed, unless counters are due.
func (h *harness[T]) store(ctx context.Context, e *ending[T], s Summary) error {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), lastWriteTime)
		defer cancel()
	}
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	if s.Outcome == Unchanged && !e.st.flushDue && !s.Changed && !e.st.showed {
		bare := copyOf(e.base)
		bare.SetConditions(e.obj.GetConditions())
		if same, err := patch.Changed(e.base, bare); err == nil && !same {
			return nil
		}
	}
	written, err := h.patch(ctx, e.key, e.base, e.obj)
	if err == nil && (written || e.st.flushDue) {
		h.memory.flushed(e.key, h.now())
	}
	return err
}

// next queues the next run.
func (h *harness[T]) next(e *ending[T], s Summary) ctrl.Result {
	class := queue.Routine
	if s.Outcome == Transient {
		class = queue.Retry
	}
	if h.scoped(e.key, s) {
		return ctrl.Result{} // runs when the scope recovers
	}
	return h.requeue(e.key, s.Next, class)
}

// eventsOf returns the events of the run, in order.
func (h *harness[T]) eventsOf(e *ending[T], s Summary) []events.Event {
	list := e.st.events
	var ev events.Event
	var ok bool
	if h.o.Event != nil {
		ev, ok = h.o.Event(e.obj, s)
	} else {
		ev, ok = h.event(s)
	}
	if !ok {
		return list
	}
	if ev.Object == nil {
		ev.Object = e.obj
	}
	return append(slices.Clip(list), ev)
}

// event is the harness's own event about the end of a run.
func (h *harness[T]) event(s Summary) (events.Event, bool) {
	ev := events.Event{Type: events.Normal, Reason: s.Reason, Message: s.Message}
	switch s.Outcome {
	case Succeeded:
		return ev, true
	case Unchanged:
		return ev, s.Changed || h.kit.Config.NoopEvents
	case Waits:
		ev.Type = events.Trace
		return ev, true
	default:
		ev.Type = events.Warning
		return ev, true
	}
}

func (h *harness[T]) emit(list []events.Event) {
	for _, e := range list {
		h.kit.Events.Emit(e)
	}
}

func (h *harness[T]) log(ctx context.Context, e *ending[T], s Summary) {
	log := logf.FromContext(ctx)
	switch s.Outcome {
	case Succeeded:
		log.Info("run finished", "duration", s.Took.String(), "next", s.Next.String(), "message", s.Message)
	case Unchanged:
		log.V(1).Info("nothing changed", "duration", s.Took.String(), "next", s.Next.String())
	case Waits:
		log.V(1).Info("run waits", "reason", s.Reason, "message", s.Message, "next", s.Next.String())
	default:
		log.Error(e.err, "run failed", "reason", s.Reason, "step", failedStep(e.err), "outcome", string(s.Outcome), "next", s.Next.String())
	}
}

func tokenOf(o Object) string {
	token, _ := meta.ReconcileRequested(o.GetAnnotations())
	return token
}
