// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/runtime/predicates"
	"github.com/gitops-kit/sdk/runtime/queue"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	// spreadMax is the longest delay of the first runs after a start.
	spreadMax = 30 * time.Second
)

// cacheReader is the cache that watches read from.
type cacheReader = cache.Cache

// Watch runs objects when an object of another kind changes.
type Watch struct {
	// Kind that is watched, such as &sourcev1.GitRepository{}. A
	// *metav1.PartialObjectMetadata with its kind set watches metadata only.
	Kind ctrlclient.Object
	// Map names the objects of Kind that an own object refers to. It is called
	// when the own object changes and fills an index, so that a change of Kind
	// costs no LIST.
	Map func(own ctrlclient.Object) []types.NamespacedName
	// When reports whether a change is worth a run; old is nil for a new object,
	// now is nil for a deleted one. nil accepts new objects, deletions and every
	// new resource version.
	When func(old, now ctrlclient.Object) bool
	// Class of the runs; the zero value is urgent.
	Class queue.Class
	// Interrupts makes a change visible to [Interrupted] in a run in progress.
	Interrupts bool
}

// BySourceRevision runs objects when the artifact of their source gets a new
// revision. ref names the source, with an empty name for none of this kind.
func BySourceRevision[T Object](kind ctrlclient.Object, ref func(T) types.NamespacedName) Watch {
	return Watch{
		Kind: kind,
		Map: func(own ctrlclient.Object) []types.NamespacedName {
			o, ok := own.(T)
			if !ok {
				return nil
			}
			key := ref(o)
			if key.Name == "" {
				return nil
			}
			if key.Namespace == "" {
				key.Namespace = own.GetNamespace()
			}
			return []types.NamespacedName{key}
		},
		When:       func(old, now ctrlclient.Object) bool { return now != nil && predicates.SourceRevision(old, now) },
		Interrupts: true,
	}
}

// newQueue is called by the controller when it starts.
func (h *harness[T]) newQueue(string, workqueue.TypedRateLimiter[ctrl.Request]) workqueue.TypedRateLimitingInterface[ctrl.Request] {
	q := queue.New(queue.Options{
		Workers: h.o.Concurrent,
		Tenant:  h.tenant,
		OnWait:  func(c queue.Class, d time.Duration) { h.kit.Metrics.QueueWait(h.kind, c.String(), d) },
	})
	h.qmu.Lock()
	h.q = q
	h.qmu.Unlock()
	return q
}

// tenant is the namespace, or what the options say about the cached object.
func (h *harness[T]) tenant(r ctrl.Request) string {
	if h.o.Tenant == nil {
		return r.Namespace
	}
	return h.index.tenant(r.NamespacedName)
}

// ownHandler keeps the index and queues own objects.
type ownHandler[T Object] struct {
	h *harness[T]
	p predicate.Predicate
}

type workQueue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// Create implements handler.TypedEventHandler.
func (o *ownHandler[T]) Create(_ context.Context, e event.TypedCreateEvent[Object], _ workQueue) {
	o.h.remember(e.Object)
	o.h.first(e.Object, e.IsInInitialList)
}

// Update implements handler.TypedEventHandler.
func (o *ownHandler[T]) Update(_ context.Context, e event.TypedUpdateEvent[Object], _ workQueue) {
	o.h.remember(e.ObjectNew)
	if o.p.Update(event.UpdateEvent{ObjectOld: e.ObjectOld, ObjectNew: e.ObjectNew}) {
		o.h.enqueue(keyOf(e.ObjectNew), queue.Urgent)
	}
}

// Delete implements handler.TypedEventHandler.
func (o *ownHandler[T]) Delete(_ context.Context, e event.TypedDeleteEvent[Object], _ workQueue) {
	key := keyOf(e.Object)
	o.h.index.forget(key)
	o.h.enqueue(key, queue.Urgent)
}

// Generic implements handler.TypedEventHandler.
func (o *ownHandler[T]) Generic(_ context.Context, e event.TypedGenericEvent[Object], _ workQueue) {
	o.h.enqueue(keyOf(e.Object), queue.Urgent)
}

// remember puts the references of an own object into the index.
func (h *harness[T]) remember(o Object) {
	refs := make([][]types.NamespacedName, len(h.o.Watches))
	for i, w := range h.o.Watches {
		if w.Map != nil {
			refs[i] = w.Map(o)
		}
	}
	tenant := o.GetNamespace()
	if t, ok := o.(T); ok && h.o.Tenant != nil {
		tenant = h.o.Tenant(t)
	}
	h.index.set(keyOf(o), tenant, refs)
}

// first queues a new object. After a start, objects that nobody waits for are
// spread over a tenth of their interval.
func (h *harness[T]) first(o Object, initial bool) {
	key := keyOf(o)
	_, token := pending(o)
	generation := observedField(o)
	if !initial || token || !o.GetDeletionTimestamp().IsZero() || generation != nil && *generation != o.GetGeneration() {
		h.enqueue(key, queue.Urgent)
		return
	}
	window := spreadMax
	if i, ok := o.(interval); ok {
		window = min(window, i.RequeueInterval().Duration/10)
	}
	h.requeue(key, spread(o.GetUID(), window), queue.Routine)
}

// spread is a delay below window that depends on the object only.
func spread(uid types.UID, window time.Duration) time.Duration {
	f := fnv.New64a()
	_, _ = f.Write([]byte(uid))
	if window <= time.Millisecond {
		return time.Millisecond
	}
	return time.Millisecond + time.Duration(f.Sum64()%uint64(window)) //nolint:gosec // window is positive
}

func (h *harness[T]) enqueue(key types.NamespacedName, c queue.Class) {
	h.qmu.Lock()
	q := h.q
	h.qmu.Unlock()
	if q != nil {
		q.AddClass(ctrl.Request{NamespacedName: key}, c)
	}
}

// foreign is the source of a watched kind.
func (h *harness[T]) foreign(c cacheReader, i int, w Watch) (source.Source, error) {
	if w.Kind == nil || w.Map == nil {
		return nil, fmt.Errorf("watch %d of %s: kind and map are required", i, h.kind)
	}
	gvk, err := apiutil.GVKForObject(w.Kind, h.kit.Client.Scheme())
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", w.Kind, err)
	}
	return source.Kind[ctrlclient.Object](c, w.Kind, &foreignHandler{
		when: w.When,
		changed: func(o ctrlclient.Object) {
			t := Trigger{Kind: gvk.Kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()}
			for _, key := range h.index.referrers(i, types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}) {
				if w.Interrupts {
					h.interruptRun(key, t)
				}
				h.enqueue(key, w.Class)
			}
		},
	}), nil
}

// interruptRun tells a run in progress that its object will run again.
func (h *harness[T]) interruptRun(key types.NamespacedName, t Trigger) {
	h.rmu.Lock()
	st := h.running[key]
	h.rmu.Unlock()
	if st != nil {
		st.interrupted(t)
	}
}

// foreignHandler queues the referrers of a changed object.
type foreignHandler struct {
	when    func(old, now ctrlclient.Object) bool
	changed func(ctrlclient.Object)
}

// Create implements handler.TypedEventHandler.
func (f *foreignHandler) Create(_ context.Context, e event.TypedCreateEvent[ctrlclient.Object], _ workQueue) {
	if e.IsInInitialList {
		return // own objects run after a start anyway
	}
	if f.when == nil || f.when(nil, e.Object) {
		f.changed(e.Object)
	}
}

// Update implements handler.TypedEventHandler.
func (f *foreignHandler) Update(_ context.Context, e event.TypedUpdateEvent[ctrlclient.Object], _ workQueue) {
	if f.when == nil && e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() || f.when != nil && f.when(e.ObjectOld, e.ObjectNew) {
		f.changed(e.ObjectNew)
	}
}

// Delete implements handler.TypedEventHandler.
func (f *foreignHandler) Delete(_ context.Context, e event.TypedDeleteEvent[ctrlclient.Object], _ workQueue) {
	if f.when == nil || f.when(e.Object, nil) {
		f.changed(e.Object)
	}
}

// Generic implements handler.TypedEventHandler.
func (f *foreignHandler) Generic(_ context.Context, e event.TypedGenericEvent[ctrlclient.Object], _ workQueue) {
	f.changed(e.Object)
}

func lower(s string) string { return strings.ToLower(s) }
