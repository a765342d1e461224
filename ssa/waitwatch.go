// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/ssa/inventory"
	"github.com/gitops-kit/sdk/ssa/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	pollEvery     = 5 * time.Second
	maxNameWatch  = 32 // foreign objects that are watched one by one
	rewatchPause  = 250 * time.Millisecond
	explainedMost = 20 // failed objects whose events are read
)

// watchAll watches the targets of every kind until ctx ends. A kind that is
// not known yet is asked for again until it is, and holds up no other.
func (w *Waiter) watchAll(ctx context.Context) {
	byKind := map[schema.GroupVersionKind][]int{}
	for i := range w.targets {
		t := &w.targets[i]
		if w.index[t.id] == i {
			gvk := groupKind(t.id).WithVersion(t.version)
			byKind[gvk] = append(byKind[gvk], i)
		}
	}
	var wg sync.WaitGroup
	for gvk, list := range byKind {
		wg.Go(func() {
			r, ok := w.resolve(ctx, gvk, list)
			if !ok {
				return
			}
			for _, g := range w.split(r, list) {
				wg.Go(func() { g.run(ctx) })
			}
		})
	}
	wg.Wait()
}

// group is the targets of one resource and scope.
type group struct {
	w         *Waiter
	r         Resource
	namespace string
	selector  string
	field     string
	index     map[objectKey]int
}

func (w *Waiter) resolve(ctx context.Context, gvk schema.GroupVersionKind, list []int) (Resource, bool) {
	for pause := time.Second; ; pause = min(2*pause, 15*time.Second) {
		r, err := w.m.resource(ctx, inventory.Item{ID: ID{Group: gvk.Group, Kind: gvk.Kind}, Version: gvk.Version})
		if err == nil {
			return r, true
		}
		w.mu.Lock()
		for _, i := range list {
			if w.o.Gone && isUnknownKind(err) {
				w.vanished(i)
				continue
			}
			w.set(i, status.Result{Status: status.Unknown, Reason: "Discovery", Message: oneLine(err.Error())})
		}
		w.mu.Unlock()
		if w.o.Gone && isUnknownKind(err) || sleep(ctx, pause) != nil {
			return Resource{}, false
		}
	}
}

// split makes one group per namespace, or one for the cluster.
func (w *Waiter) split(r Resource, list []int) []*group {
	byNamespace := map[string][]int{}
	for _, i := range list {
		byNamespace[w.targets[i].id.Namespace] = append(byNamespace[w.targets[i].id.Namespace], i)
	}
	make1 := func(ns string, list []int) *group {
		g := &group{w: w, r: r, namespace: ns, selector: w.m.o.Owner.selector(), index: map[objectKey]int{}}
		for _, i := range list {
			g.index[objectKey{w.targets[i].id.Namespace, w.targets[i].id.Name}] = i
		}
		return g
	}
	if !r.Namespaced || len(byNamespace) > maxNamespaceLists && !w.m.refused.has(scope{r.GVR, ""}) {
		return []*group{make1("", list)}
	}
	var out []*group
	for _, ns := range slices.Sorted(maps.Keys(byNamespace)) {
		out = append(out, make1(ns, byNamespace[ns]))
	}
	return out
}

// run lists and watches until ctx ends.
func (g *group) run(ctx context.Context) {
	for ctx.Err() == nil {
		rv, strangers, err := g.list(ctx)
		switch {
		case apierrors.IsForbidden(err) && g.namespace == "" && g.r.Namespaced:
			g.w.m.refused.add(scope{g.r.GVR, ""})
			g.perNamespace(ctx)
			return
		case apierrors.IsForbidden(err):
			g.poll(ctx)
			return
		case err != nil:
			if g.kindLost(ctx, err) || sleep(ctx, jitter(time.Second)) != nil {
				return
			}
			continue
		}
		var wg sync.WaitGroup
		sctx, cancel := context.WithCancel(ctx)
		for _, s := range strangers {
			wg.Go(func() { s.run(sctx) })
		}
		err = g.follow(ctx, rv)
		cancel()
		wg.Wait()
		if apierrors.IsForbidden(err) {
			g.poll(ctx)
			return
		}
	}
}

// kindLost handles a LIST that failed. When the server does not serve the
// kind any more, its objects are gone; it reports whether that is what was
// waited for. Otherwise the kind may come back, or is served in another
// version: the next LIST asks for that one.
func (g *group) kindLost(ctx context.Context, err error) bool {
	if !apierrors.IsNotFound(err) {
		return false
	}
	gvk := g.r.GVK
	if c, ok := g.w.m.c.(Refresher); ok {
		c.Refresh(gvk.Group)
	}
	r, err := g.w.m.resource(ctx, inventory.Item{ID: ID{Group: gvk.Group, Kind: gvk.Kind}, Version: gvk.Version})
	switch {
	case err == nil:
		g.r = r
		return false
	case !isUnknownKind(err):
		return false
	}
	for _, i := range slices.Sorted(maps.Values(g.index)) {
		g.w.miss(i)
	}
	return g.w.o.Gone
}

func (g *group) perNamespace(ctx context.Context) {
	list := slices.Collect(maps.Values(g.index))
	var wg sync.WaitGroup
	for _, n := range g.w.split(g.r, list) {
		wg.Go(func() { n.run(ctx) })
	}
	wg.Wait()
}

// list reads the state once. Targets that do not carry our labels come back
// as groups of their own.
func (g *group) list(ctx context.Context) (rv string, strangers []*group, err error) {
	seen := make(map[int]bool, len(g.index))
	o := ListOptions{Namespace: g.namespace, LabelSelector: g.selector, FieldSelector: g.field, OnPage: func(_ int, v string) { rv = v }}
	for u, err := range g.w.m.c.List(ctx, g.r, o) {
		if err != nil {
			return "", nil, err
		}
		if i, ok := g.index[keyOf(u)]; ok {
			seen[i] = true
			g.w.see(ctx, i, u, g.r.HasStatus)
		}
	}
	var missing []int
	for _, i := range g.index {
		if !seen[i] {
			missing = append(missing, i)
		}
	}
	slices.Sort(missing)
	if g.selector == "" {
		for _, i := range missing {
			g.w.miss(i)
		}
		return rv, nil, nil
	}
	strangers, err = g.strangers(ctx, missing)
	return rv, strangers, err
}

func keyOf(u *unstructured.Unstructured) objectKey { return objectKey{u.GetNamespace(), u.GetName()} }

// strangers finds the objects that the LIST by owner labels does not show:
// absent ones, and ones of somebody else.
func (g *group) strangers(ctx context.Context, missing []int) ([]*group, error) {
	if len(missing) > maxGets {
		var err error
		if missing, err = g.existing(ctx, missing); err != nil {
			return nil, err
		}
	}
	var foreign []int
	for _, i := range missing {
		l, err := g.look(ctx, i)
		switch {
		case err != nil:
			return nil, err
		case l != nil && !g.w.m.o.Owner.owns(l.u):
			foreign = append(foreign, i)
		}
	}
	if len(foreign) <= maxNameWatch {
		out := make([]*group, 0, len(foreign))
		for _, i := range foreign {
			id := g.w.targets[i].id
			out = append(out, &group{w: g.w, r: g.r, namespace: id.Namespace, field: "metadata.name=" + id.Name, index: map[objectKey]int{{id.Namespace, id.Name}: i}})
		}
		return out, nil
	}
	byNamespace := map[string]*group{}
	for _, i := range foreign {
		id := g.w.targets[i].id
		n := byNamespace[id.Namespace]
		if n == nil {
			n = &group{w: g.w, r: g.r, namespace: id.Namespace, index: map[objectKey]int{}}
			byNamespace[id.Namespace] = n
		}
		n.index[objectKey{id.Namespace, id.Name}] = i
	}
	return slices.Collect(maps.Values(byNamespace)), nil
}

// existing narrows missing down to what exists at all, by one LIST of
// metadata. Where that is refused, everything stays.
func (g *group) existing(ctx context.Context, missing []int) ([]int, error) {
	names := map[objectKey]bool{}
	for u, err := range g.w.m.c.List(ctx, g.r, ListOptions{Namespace: g.namespace, MetadataOnly: true}) {
		if apierrors.IsForbidden(err) {
			return missing, nil
		}
		if err != nil {
			return nil, err
		}
		names[keyOf(u)] = true
	}
	left := missing[:0:0]
	for _, i := range missing {
		if t := &g.w.targets[i]; names[objectKey{t.id.Namespace, t.id.Name}] {
			left = append(left, i)
			continue
		}
		g.w.miss(i)
	}
	return left, nil
}

// look reads one target by name; nil when it is absent or may not be read.
func (g *group) look(ctx context.Context, i int) (*liveObject, error) {
	t := &g.w.targets[i]
	l, err := g.w.m.fresh(ctx, g.r, t.id.Namespace, t.id.Name)
	switch {
	case apierrors.IsForbidden(err):
		g.w.mu.Lock()
		g.w.set(i, status.Result{Status: status.Unknown, Reason: "Forbidden", Message: oneLine(err.Error())})
		g.w.mu.Unlock()
		return nil, nil //nolint:nilnil // the status says it
	case err != nil:
		return nil, err
	case l == nil:
		g.w.miss(i)
	default:
		g.w.see(ctx, i, l.u, g.r.HasStatus)
	}
	return l, nil
}

var errRelist = errors.New("list again")

// follow watches from rv on, resuming watches that end. It returns when the
// state must be listed again.
func (g *group) follow(ctx context.Context, rv string) error {
	for ctx.Err() == nil {
		wi, err := g.w.m.c.Watch(ctx, g.r, ListOptions{Namespace: g.namespace, LabelSelector: g.selector, FieldSelector: g.field, ResourceVersion: rv})
		if err != nil {
			if apierrors.IsForbidden(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
				return err
			}
			if sleep(ctx, jitter(time.Second)) != nil {
				return ctx.Err()
			}
			return errRelist
		}
		started := time.Now()
		rv, err = g.consume(ctx, wi, rv)
		wi.Stop()
		if err != nil {
			return err
		}
		if time.Since(started) < rewatchPause {
			if err := sleep(ctx, rewatchPause); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// consume handles the events of one watch.
func (g *group) consume(ctx context.Context, wi watch.Interface, rv string) (string, error) {
	var tick <-chan time.Time
	if g.r.GVR == (schema.GroupVersionResource{Version: "v1", Resource: "pods"}) {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		tick = t.C
	}
	for {
		var ev watch.Event
		var ok bool
		select {
		case ev, ok = <-wi.ResultChan():
		case <-tick:
			if err := g.lookAgain(ctx); err != nil {
				return rv, fmt.Errorf("%w: %w", errRelist, err)
			}
			continue
		case <-ctx.Done():
			return rv, ctx.Err()
		}
		if !ok {
			return rv, nil
		}
		u, isObject := ev.Object.(*unstructured.Unstructured)
		if !isObject {
			return rv, fmt.Errorf("%w: %w", errRelist, apierrors.FromObject(ev.Object))
		}
		if v := u.GetResourceVersion(); v != "" {
			rv = v
		}
		i, mine := g.index[keyOf(u)]
		if !mine || ev.Type == watch.Bookmark {
			continue
		}
		if ev.Type == watch.Deleted {
			// A watch with a selector says so also when the labels changed.
			if _, err := g.look(ctx, i); err != nil {
				return rv, fmt.Errorf("%w: %w", errRelist, err)
			}
			continue
		}
		g.w.see(ctx, i, u, g.r.HasStatus)
	}
}

// lookAgain reads targets whose status depends on time and is due: there is no
// event when time passes.
func (g *group) lookAgain(ctx context.Context) error {
	for _, i := range g.w.due(g.index) {
		if _, err := g.look(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// poll replaces a watch that is forbidden.
func (g *group) poll(ctx context.Context) {
	for ctx.Err() == nil {
		_, _, err := g.list(ctx)
		if apierrors.IsForbidden(err) {
			err = g.lookAll(ctx)
		}
		if g.kindLost(ctx, err) || sleep(ctx, pollEvery) != nil {
			return
		}
	}
}

func (g *group) lookAll(ctx context.Context) error {
	for _, i := range slices.Sorted(maps.Values(g.index)) {
		if _, err := g.look(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// bindingModes reads the storage classes; "" is the default class.
func (m *Manager) bindingModes(ctx context.Context) map[string]string {
	out := map[string]string{}
	r, err := m.c.Resource(ctx, schema.GroupVersionKind{Group: "storage.k8s.io", Version: "v1", Kind: "StorageClass"})
	if err != nil {
		return out
	}
	for u, err := range m.c.List(ctx, r, ListOptions{}) {
		if err != nil {
			return map[string]string{}
		}
		mode, _ := u.Object["volumeBindingMode"].(string)
		out[u.GetName()] = mode
		if u.GetAnnotations()["storageclass.kubernetes.io/is-default-class"] == "true" {
			out[""] = mode
		}
	}
	return out
}

// gone waits until an object, or the instance of it with the UID, is gone.
func (m *Manager) gone(ctx context.Context, r Resource, id ID, uid string, timeout time.Duration) error {
	if timeout < 0 {
		timeout = unlimited
	}
	w := m.newWaiter([]Target{{ID: id, Version: r.GVK.Version, UID: uid}}, WaitOptions{Gone: true, Timeout: timeout})
	w.run(ctx)
	if err := w.Err(); !errors.Is(err, ErrTimeout) {
		return err
	}
	te := &TerminatingError{ID: id}
	if left := w.survivors(); len(left) > 0 {
		te = left[0]
	}
	if len(te.Finalizers) > 0 {
		return te
	}
	if l, e := m.fresh(ctx, r, id.Namespace, id.Name); e == nil && l != nil {
		te.Finalizers = l.u.GetFinalizers() // it was not seen in time
	}
	return te
}
