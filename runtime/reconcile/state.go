// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/metrics"
	"github.com/gitops-kit/sdk/runtime/telemetry"
	"k8s.io/apimachinery/pkg/types"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// progressEvery is the least time between two progress writes, and the time
// after which a run shows that it is in progress.
const progressEvery = 5 * time.Second

type stateKey struct{}

func stateOf(ctx context.Context) *state {
	st, _ := ctx.Value(stateKey{}).(*state)
	return st
}

// Trigger is the change that asked for a run.
type Trigger struct {
	// Kind, Namespace and Name of the object that changed.
	Kind, Namespace, Name string
	// UID of the object that changed.
	UID types.UID
	// ResourceVersion of the change.
	ResourceVersion string
}

// state is what the functions of a run share.
type state struct {
	kind      string
	metrics   *metrics.Recorder
	telemetry telemetry.Hook
	start     time.Time
	flushDue  bool

	// write stores the status of snapshot on top of base; the caller holds mu.
	write func(ctx context.Context, snapshot Object) error
	// copyBase returns a copy of what is stored.
	copyBase func() Object

	step     string
	resumeAt string
	resumed  Waiter
	parkedAt string

	requests []request

	mu        sync.Mutex
	obj       Object // the author's copy; touched by the run's goroutine only
	message   string
	lastWrite time.Time
	showed    bool // a progress status was written
	ended     bool
	events    []events.Event
	timer     *time.Timer

	imu       sync.Mutex
	trigger   *Trigger
	interrupt context.CancelFunc
	ictx      context.Context //nolint:containedctx // made once per run, on demand, and handed to the author
}

type request struct {
	annotation string
	last       *string
}

// progress marks o as running: Reconciling True, and Ready Unknown unless it is
// False.
func (st *state) progress(o Object) {
	message := st.message
	if message == "" {
		message = "reconciliation in progress"
	}
	conditions.MarkReconciling(o, meta.ProgressingReason, "%s", message)
	if !conditions.IsFalse(o, meta.ReadyCondition) || stale(o) {
		conditions.MarkUnknown(o, meta.ReadyCondition, meta.ProgressingReason, "%s", message)
	}
}

// stale reports whether Ready is about an older generation.
func stale(o Object) bool {
	c := conditions.Get(o, meta.ReadyCondition)
	return c == nil || c.ObservedGeneration != o.GetGeneration()
}

// show writes a progress status: what is stored, with the conditions of a run
// in progress.
func (st *state) show(ctx context.Context) error {
	o := st.copyBase()
	st.progress(o)
	st.showed = true
	st.lastWrite = time.Now()
	return st.write(ctx, o)
}

// arm shows progress when the run takes long.
func (st *state) arm(ctx context.Context) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.timer = time.AfterFunc(progressEvery, func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		if st.ended || st.showed || ctx.Err() != nil {
			return
		}
		if err := st.show(ctx); err != nil {
			logf.FromContext(ctx).V(1).Info("progress not written", "error", err.Error())
		}
	})
}

// end stops progress writes; afterwards the run's goroutine owns the object.
func (st *state) end() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ended = true
	if st.timer != nil {
		st.timer.Stop()
	}
	if st.showed {
		st.progress(st.obj)
	}
}

// Progress sets the message of the Reconciling condition. It is written at most
// once per five seconds, and not at all in a run that ends sooner.
func Progress(ctx context.Context, format string, a ...any) {
	st := stateOf(ctx)
	if st == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.message = sprintf(format, a)
	if st.ended || time.Since(st.lastWrite) < progressEvery {
		return
	}
	if err := st.show(ctx); err != nil {
		logf.FromContext(ctx).V(1).Info("progress not written", "error", err.Error())
	}
}

// Checkpoint writes the status of the object now, for data that must be stored
// before the next side effect. Conditions say that the run is in progress; the
// observed generation and the handled token stay as they are stored.
func Checkpoint(ctx context.Context) error {
	st := stateOf(ctx)
	if st == nil {
		return ErrNoRun
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.checkpoint(ctx)
}

func (st *state) checkpoint(ctx context.Context) error {
	o, ok := st.obj.DeepCopyObject().(Object)
	if !ok {
		return ErrNoRun
	}
	base := st.copyBase()
	if from, to := observedField(base), observedField(o); from != nil && to != nil {
		*to = *from
	}
	if from, to := handledField(base), handledField(o); from != nil && to != nil {
		*to = *from
	}
	st.progress(o)
	st.showed = true
	st.lastWrite = time.Now()
	return st.write(ctx, o)
}

// Emit emits an event after the status write that ends the run, or when the run
// is parked. Outside of a run it does nothing.
func Emit(ctx context.Context, e events.Event) {
	st := stateOf(ctx)
	if st == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if e.Object == nil {
		e.Object = st.obj
	}
	st.events = append(st.events, e)
}

// Requests handles the further request annotations of the run's object.
func Requests(ctx context.Context) RequestLog { return RequestLog{st: stateOf(ctx)} }

// RequestLog remembers which request annotations a run looked at.
type RequestLog struct{ st *state }

// Handle reports whether the request in annotation must be acted upon, as
// meta.HandleRequest says. Its value is recorded in *last, a field of the
// object's status, by the status write that ends the run, acted upon or not.
func (l RequestLog) Handle(annotation string, last *string) bool {
	if l.st == nil {
		return false
	}
	l.st.requests = append(l.st.requests, request{annotation, last})
	return meta.HandleRequest(l.st.obj, annotation, last)
}

// FlushDue reports whether counters of runs without change should be put into
// the status now.
func FlushDue(ctx context.Context) bool {
	st := stateOf(ctx)
	return st == nil || st.flushDue
}

// Interrupted reports whether a watched object changed during the run such that
// the object will run again, and which.
func Interrupted(ctx context.Context) (Trigger, bool) {
	st := stateOf(ctx)
	if st == nil {
		return Trigger{}, false
	}
	st.imu.Lock()
	defer st.imu.Unlock()
	if st.trigger == nil {
		return Trigger{}, false
	}
	return *st.trigger, true
}

// InterruptContext returns a context that is cancelled when [Interrupted]
// becomes true or ctx is done.
func InterruptContext(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(ctx)
	st := stateOf(ctx)
	if st == nil {
		return out, cancel
	}
	stop := context.AfterFunc(st.ictx, cancel)
	return out, func() { stop(); cancel() }
}

func (st *state) interrupted(t Trigger) {
	st.imu.Lock()
	defer st.imu.Unlock()
	if st.trigger == nil {
		st.trigger = &t
		st.interrupt()
	}
}
