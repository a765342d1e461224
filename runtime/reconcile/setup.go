// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/predicates"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	minRetryDelay     = 750 * time.Millisecond
	maxRetryDelay     = 15 * time.Minute
	requeueDependency = 30 * time.Second
	concurrent        = 4
	maxParked         = 10000
)

// Options of [Setup]. The zero value reconciles the kind with the process's
// defaults and watches nothing else.
type Options[T Object] struct {
	// Name of the controller in logs, metrics and leases; "" is the kind in lower
	// case.
	Name string
	// Watches are other kinds whose changes run objects of this kind.
	Watches []Watch
	// Concurrent is the number of workers; 0 is that of the process.
	Concurrent int
	// FieldManager of status and finalizer writes; "" is the controller's name.
	FieldManager string
	// OwnedConditions are the types, beside Ready, Reconciling and Stalled, that
	// win a conflict with another writer.
	OwnedConditions []string
	// Finalizer is its name; "" is the usual one.
	Finalizer string
	// NoFinalizer, when set, reports objects that get no finalizer.
	NoFinalizer func(T) bool
	// Static, when set, reports objects that are not reconciled at all. Their
	// deletion is still finalized.
	Static func(T) bool
	// Tenant names the share of workers an object belongs to; nil is its namespace.
	Tenant func(T) string
	// ResumeKey is what a parked run depends on beside generation and token, such
	// as a source revision. A change starts the run again, if
	// PreemptOnNewRevision is set, else after the waiter is done.
	ResumeKey func(T) string
	// PreemptOnNewRevision ends a parked run when ResumeKey changes.
	PreemptOnNewRevision bool
	// Summarize, when set, adjusts the conditions that the result rules made.
	Summarize func(obj T, s Summary)
	// Event, when set, replaces the harness's event about the end of a run; false
	// emits none.
	Event func(obj T, s Summary) (events.Event, bool)
	// OnLeave is called when an object is gone or has left the shard.
	OnLeave func(ctx context.Context, key types.NamespacedName)
	// Bounds of duration fields, by JSON path such as "spec.timeout"; others have
	// the usual ones.
	Bounds map[string]meta.DurationBounds
}

// Summary is how a run ended.
type Summary struct {
	// Outcome of the run.
	Outcome Outcome
	// Reason and Message of the Ready condition by the result rules.
	Reason, Message string
	// Err is the error of the run, nil for success.
	Err error
	// Took is how long the run took, waits included.
	Took time.Duration
	// Next is when the object runs again, 0 when nothing but a change runs it.
	Next time.Duration
	// Changed is true when generation, token, or readiness changed with this run.
	Changed bool
	// WasReady is true when the object was Ready before the run.
	WasReady bool
}

// Setup registers a controller for the kind T with the manager of k.
func Setup[T Object](k Kit, r Reconciler[T], o Options[T]) error {
	h, err := newHarness(k, r, o)
	if err != nil {
		return err
	}
	var unusable error
	if h.marks, unusable = openMarkers(os.TempDir(), h.kit.Name+"-"+h.kind, bootID()); unusable != nil {
		k.Manager.GetLogger().Info("runs are not marked: a crash during one will not be noticed", "error", unusable.Error())
	}
	skip := true // several managers of one process may have a controller of the same name
	c, err := controller.New(h.o.Name, k.Manager, controller.Options{
		SkipNameValidation:      &skip,
		Reconciler:              h,
		MaxConcurrentReconciles: h.o.Concurrent,
		NewQueue:                h.newQueue,
		LogConstructor:          h.logger(k.Manager.GetLogger()),
	})
	if err != nil {
		return fmt.Errorf("set up controller %q: %w", h.o.Name, err)
	}
	// Parked waits end with the leadership.
	stop := ctrlmanager.RunnableFunc(func(ctx context.Context) error {
		<-ctx.Done()
		h.parker.stopAll()
		return nil
	})
	if err := k.Manager.Add(stop); err != nil {
		return fmt.Errorf("set up controller %q: %w", h.o.Name, err)
	}
	return h.watch(c, k.Manager.GetCache())
}

func newHarness[T Object](k Kit, r Reconciler[T], o Options[T]) (*harness[T], error) {
	proto, err := prototype[T]()
	if err != nil {
		return nil, err
	}
	gvk, err := apiutil.GVKForObject(proto, k.Client.Scheme())
	if err != nil {
		return nil, fmt.Errorf("set up controller: %w", err)
	}
	h := &harness[T]{kit: k, r: r, o: o, gvk: gvk, kind: gvk.Kind, now: time.Now}
	h.fields = durationFields(reflect.TypeOf(proto).Elem())
	h.defaults()
	h.scope, h.index = newScopes(), newIndex(len(o.Watches))
	h.parker = newParker(maxParked, func(key types.NamespacedName) { h.wake(key) },
		func(delta int) { k.Metrics.Parked(h.kind, delta) })
	return h, nil
}

// prototype returns a new object of the kind.
func prototype[T Object]() (T, error) {
	var zero T
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Pointer {
		return zero, fmt.Errorf("%s is no pointer to an API type", t)
	}
	o, ok := reflect.New(t.Elem()).Interface().(T)
	if !ok {
		return zero, fmt.Errorf("%s is no pointer to an API type", t)
	}
	return o, nil
}

func (h *harness[T]) defaults() {
	if h.o.Name == "" {
		h.o.Name = lower(h.kind)
	}
	if h.o.Concurrent <= 0 {
		h.o.Concurrent = positive(h.kit.Config.Concurrent, concurrent)
	}
	if h.o.FieldManager == "" {
		h.o.FieldManager = h.kit.Name
	}
	if h.o.Finalizer == "" {
		h.o.Finalizer = meta.Finalizer
	}
	c := &h.kit.Config
	c.RequeueDependency = positive(c.RequeueDependency, requeueDependency)
	c.MinRetryDelay = positive(c.MinRetryDelay, minRetryDelay)
	c.MaxRetryDelay = positive(c.MaxRetryDelay, maxRetryDelay)
	h.owned = append([]string{meta.ReadyCondition, meta.ReconcilingCondition, meta.StalledCondition}, h.o.OwnedConditions...)
	h.memory = newMemory(c.MinRetryDelay, c.MaxRetryDelay)
}

// logger gives every line of a run the keys that clients of the log parse.
func (h *harness[T]) logger(base logr.Logger) func(*ctrl.Request) logr.Logger {
	base = base.WithValues("controller", h.o.Name, "controllerGroup", h.gvk.Group, "controllerKind", h.kind)
	return func(r *ctrl.Request) logr.Logger {
		if r == nil {
			return base
		}
		return base.WithValues(h.kind, klog.KRef(r.Namespace, r.Name), "namespace", r.Namespace, "name", r.Name)
	}
}

func (h *harness[T]) watch(c controller.Controller, cache cacheReader) error {
	proto, err := prototype[T]()
	if err != nil {
		return err
	}
	own := source.Kind[Object](cache, Object(proto), &ownHandler[T]{h: h, p: predicates.Own(h.o.Finalizer)})
	if err := c.Watch(own); err != nil {
		return fmt.Errorf("watch %s: %w", h.kind, err)
	}
	for i, w := range h.o.Watches {
		src, err := h.foreign(cache, i, w)
		if err != nil {
			return err
		}
		if err := c.Watch(src); err != nil {
			return fmt.Errorf("watch %T: %w", w.Kind, err)
		}
	}
	return nil
}

func positive[N int | time.Duration](n, def N) N {
	if n <= 0 {
		return def
	}
	return n
}

// GVK returns group, version and kind of an API type known to the scheme of k.
func (k Kit) GVK(o Object) (schema.GroupVersionKind, error) {
	return apiutil.GVKForObject(o, k.Client.Scheme())
}
