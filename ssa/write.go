// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/fail"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

type gvrKey = schema.GroupVersionResource

// maxTries bounds how often a conflict with another writer is met by reading
// and trying again.
const maxTries = 5

// patch applies one object, after taking over fields where that is due.
func (a *applier) patch(ctx context.Context, e *Entry, out *Outcome) {
	action := ActionConfigured
	if e.Decision == DecisionCreate {
		action = ActionCreated
		if done := a.present(ctx, e, out); done {
			return
		}
	}
	if e.x.takeover != nil {
		if err := a.takeOver(ctx, e); err != nil {
			a.fail(e, out, err)
			return
		}
		fail.Point(fpTakeover)
	}
	l, err := a.send(ctx, e)
	if err != nil {
		a.fail(e, out, err)
		return
	}
	a.applied(e, out, l, action)
}

// present looks once more for an object that is created only where there is
// none: somebody may have made it since the plan.
func (a *applier) present(ctx context.Context, e *Entry, out *Outcome) bool {
	if !a.p.o.IfNotPresent.Matches(e.x.desired) {
		return false
	}
	a.pl.count.get.Add(1)
	u, err := a.m.c.Get(ctx, e.x.r, e.ID.Namespace, e.ID.Name)
	l, err := liveOrNil(u, err)
	switch {
	case err != nil:
		a.fail(e, out, err)
		return true
	case l == nil:
		return false
	}
	out.Action, out.Why, out.exists, out.UID, out.ResourceVersion = ActionSkipped, WhyPresent, true, l.uid(), l.resourceVersion()
	return true
}

// send is the apply itself.
func (a *applier) send(ctx context.Context, e *Entry) (*liveObject, error) {
	for try := 1; ; try++ {
		a.pl.count.patch.Add(1)
		u, err := a.m.c.Send(ctx, Write{
			Verb: VerbApply, Resource: e.x.r, Namespace: e.ID.Namespace, Name: e.ID.Name, Object: e.x.sent,
			FieldManager: a.m.o.Owner.FieldManager, Force: !a.p.o.FailOnConflict, Drain: a.m.o.DrainTimeout,
		})
		if err == nil {
			return &liveObject{u: u}, nil
		}
		if !apierrors.IsConflict(err) || try >= maxTries || ctx.Err() != nil {
			return nil, err
		}
		if c := conflictOf(err); c != nil {
			return nil, c
		}
	}
}

// takeOver sends the JSON patch of managedFields. A concurrent writer makes
// it fail; then it is computed anew.
func (a *applier) takeOver(ctx context.Context, e *Entry) error {
	for try := 1; ; try++ {
		b, err := e.x.takeover.patch(a.p.o, a.m.o.Owner.FieldManager, e, time.Now())
		if err != nil {
			return err
		}
		if err := checkPatch(b); err != nil {
			return err
		}
		a.pl.count.patch.Add(1)
		u, err := a.m.c.Send(ctx, Write{
			Verb: VerbJSONPatch, Resource: e.x.r, Namespace: e.ID.Namespace, Name: e.ID.Name, Patch: b,
			FieldManager: a.m.o.Owner.FieldManager, Drain: a.m.o.DrainTimeout,
		})
		if err == nil {
			e.x.live = &liveObject{u: u}
			if e.Unproved == string(WhyUnverified) {
				return a.rehearsed(ctx, e)
			}
			return nil
		}
		if (!apierrors.IsConflict(err) && !apierrors.IsInvalid(err)) || try >= maxTries || ctx.Err() != nil {
			return err
		}
		l, err := a.m.fresh(ctx, e.x.r, e.ID.Namespace, e.ID.Name)
		if err != nil {
			return err
		}
		if l == nil {
			return nil // gone meanwhile: the apply creates it
		}
		e.x.live = l
		if e.x.takeover = findTakeover(a.p.o, a.m.o.Owner.FieldManager, e); e.x.takeover == nil {
			return nil
		}
	}
}

// rehearsed makes up for a dry-run that was not possible before the fields
// were ours.
func (a *applier) rehearsed(ctx context.Context, e *Entry) error {
	_, err := a.pl.dryRun(ctx, e)
	return err
}

// recreate deletes the object, waits until it is gone, and creates it anew.
func (a *applier) recreate(ctx context.Context, e *Entry, out *Outcome) {
	propagation := a.o.RecreatePropagation
	if propagation == "" {
		propagation = metav1.DeletePropagationBackground
	}
	if err := a.deleteForRecreation(ctx, e, propagation); err != nil {
		a.fail(e, out, err)
		return
	}
	fail.Point(fpRecreateDelete)
	timeout := a.o.RecreateTimeout
	if timeout == 0 {
		timeout = defaultRecreate
	}
	if err := a.m.gone(ctx, e.x.r, e.ID, e.x.liveUID, timeout); err != nil {
		a.fail(e, out, err)
		return
	}
	out.exists, out.UID, out.ResourceVersion = false, "", ""
	for try := 1; ; try++ {
		l, err := a.send(ctx, e)
		if err == nil {
			a.applied(e, out, l, ActionCreated)
			return
		}
		if !apierrors.IsAlreadyExists(err) || try >= 3 {
			a.fail(e, out, err)
			return
		}
	}
}

// deleteForRecreation deletes the very object that was planned for. A newer
// version of it is as good as long as nothing but its status has changed.
func (a *applier) deleteForRecreation(ctx context.Context, e *Entry, propagation metav1.DeletionPropagation) error {
	version := e.x.liveRV
	for try := 1; ; try++ {
		a.pl.count.del.Add(1)
		_, err := a.m.c.Send(ctx, Write{
			Verb: VerbDelete, Resource: e.x.r, Namespace: e.ID.Namespace, Name: e.ID.Name,
			UID: e.x.liveUID, ResourceVersion: version, Propagation: propagation, Drain: a.m.o.DrainTimeout,
		})
		if err == nil || isAbsent(err) {
			return nil
		}
		if !apierrors.IsConflict(err) || try >= maxTries || ctx.Err() != nil {
			return err
		}
		l, e2 := a.m.fresh(ctx, e.x.r, e.ID.Namespace, e.ID.Name)
		switch {
		case e2 != nil:
			return e2
		case l == nil:
			return nil
		case l.uid() != e.x.liveUID || !same(drifting(l.u.Object), drifting(e.x.live.u.Object)):
			return err
		}
		version = l.resourceVersion()
	}
}

// validate decides deferred entries of entries[from:to] as far as possible.
// Before a stage, those that need something of the same stage stay deferred;
// final decides them, too. It reports whether nothing became blocked.
func (a *applier) validate(ctx context.Context, from, to int, final bool) bool {
	var todo []*Entry
	var at []int
	groups := map[string]bool{}
	var brings *promises
	for i := from; i < to; i++ {
		e := &a.entries[i]
		if e.Decision != DecisionDeferred {
			continue
		}
		if brings == nil && !final {
			brings = a.promises(e.Stage)
		}
		if !final && brings.needed(e) {
			continue
		}
		if e.Why == WhyUnknownKind || e.Why == WhyNewDefinition {
			groups[e.ID.Group] = true
		}
		todo, at = append(todo, e), append(at, i)
	}
	if len(todo) == 0 {
		return true
	}
	if r, ok := a.m.c.(Refresher); ok {
		for g := range groups {
			r.Refresh(g)
		}
	}
	a.decideDeferred(ctx, todo)
	ok := true
	for k, e := range todo {
		o := &a.res.Outcomes[at[k]]
		if e.Decision == DecisionBlocked {
			ok = false
			o.Err, o.blocked = e.Err, true
		}
		o.ID, a.index[e.ID] = e.ID, at[k] // a kind that has no namespaces after all
		o.exists, o.UID, o.ResourceVersion, o.isStatus = e.x.existed, e.x.liveUID, e.x.liveRV, e.x.r.HasStatus
	}
	return ok
}

// promises are the namespaces and kinds that a stage brings.
type promises struct {
	spaces map[string]bool
	kinds  map[schema.GroupKind]bool
}

func (a *applier) promises(stage int) *promises {
	p := &promises{spaces: map[string]bool{}, kinds: map[schema.GroupKind]bool{}}
	for i := range a.entries {
		switch e := &a.entries[i]; {
		case e.Stage != stage || e.x.desired == nil:
		case e.ID == ID{Name: e.ID.Name, Kind: "Namespace"}:
			p.spaces[e.ID.Name] = true
		case e.ID.Kind == "CustomResourceDefinition":
			for _, gvk := range definedKinds(e.x.desired.Object) {
				p.kinds[gvk.GroupKind()] = true
			}
		}
	}
	return p
}

// needed reports whether what the entry waits for is among them.
func (p *promises) needed(e *Entry) bool {
	switch e.Why {
	case WhyNewNamespace:
		return p.spaces[e.ID.Namespace]
	case WhyUnknownKind, WhyNewDefinition:
		return p.kinds[groupKind(e.ID)]
	}
	return false
}

// decideDeferred makes the decisions that the plan could not make: it looks up
// kinds, waits for what is being deleted, reads, and asks the server.
func (a *applier) decideDeferred(ctx context.Context, todo []*Entry) {
	a.resolve(ctx, todo)
	a.awaitTerminated(ctx, todo)
	for _, e := range todo {
		if e.Decision == DecisionDeferred {
			e.Decision, e.Why, e.x.pending = "", "", true
			e.x.live, e.x.existed, e.x.liveUID, e.x.liveRV, e.x.sent = nil, false, "", "", e.x.desired
		}
	}
	twins(a.entries, todo)
	read := make([]bool, len(todo))
	var want []*wanted
	count := map[scope]int{}
	for _, e := range todo {
		count[scope{e.x.r.GVR, e.ID.Namespace}]++
	}
	for i, e := range todo {
		if e.x.pending && count[scope{e.x.r.GVR, e.ID.Namespace}] > maxGets {
			read[i] = true
			want = append(want, &wanted{r: e.x.r, namespace: e.ID.Namespace, name: e.ID.Name, found: func(l *liveObject, err error) {
				a.pl.judge(ctx, e, l, err)
			}})
		}
	}
	a.m.read(ctx, want, &a.pl.count)
	a.m.each(len(todo), func(i int) {
		e := todo[i]
		if e.x.pending && !read[i] {
			a.pl.count.get.Add(1)
			l, err := a.m.fresh(ctx, e.x.r, e.ID.Namespace, e.ID.Name)
			a.pl.judge(ctx, e, l, err)
		}
		switch {
		case e.Decision == DecisionDeferred:
			e.block(WhyTerminating, OpRead, &TerminatingError{ID: e.ID, Finalizers: e.x.live.u.GetFinalizers()})
		case e.x.pending:
			a.pl.ask(ctx, e)
		}
	})
}

// resolve finds the kinds that were unknown, each once for all its entries.
// Entries whose kind stays unknown are blocked.
func (a *applier) resolve(ctx context.Context, todo []*Entry) {
	entries := map[schema.GroupVersionKind][]*Entry{}
	for _, e := range todo {
		if e.Why == WhyUnknownKind || e.x.r.GVR.Resource == "" {
			gvk := e.x.desired.GroupVersionKind()
			entries[gvk] = append(entries[gvk], e)
		}
	}
	kinds := slices.Collect(maps.Keys(entries))
	a.m.each(len(kinds), func(i int) {
		list := entries[kinds[i]]
		r, err := a.kind(ctx, kinds[i], list[0].x.last)
		for _, e := range list {
			if err != nil {
				e.block(WhyUnknownKind, OpDryRun, err)
			} else {
				a.pl.ready(e, r)
			}
		}
	})
}

// awaitTerminated waits, at once for all, until what was being deleted is
// gone. Entries whose object is not gone in time are blocked.
func (a *applier) awaitTerminated(ctx context.Context, todo []*Entry) {
	waiting := map[ID]*Entry{}
	var targets []Target
	for _, e := range todo {
		if e.Decision == DecisionDeferred && e.Why == WhyTerminating {
			waiting[e.ID] = e
			targets = append(targets, Target{ID: e.ID, Version: e.x.r.GVK.Version, UID: e.x.liveUID})
		}
	}
	if len(targets) == 0 {
		return
	}
	w := a.m.newWaiter(targets, WaitOptions{Gone: true, Timeout: terminatingWait})
	w.run(ctx)
	for _, te := range w.survivors() {
		err := w.Err()
		if errors.Is(err, ErrTimeout) {
			err = te
		}
		waiting[te.ID].block(WhyTerminating, OpRead, err)
	}
}

// kind finds the resource of a kind that was unknown. One that nobody promised
// is asked for again until the time is over, which is the same for all.
func (a *applier) kind(ctx context.Context, gvk schema.GroupVersionKind, last bool) (Resource, error) {
	a.deferring.Do(func() {
		timeout := a.o.DeferTimeout
		if timeout == 0 {
			timeout = defaultDeferTimeout
		}
		a.deferEnd = time.Now().Add(timeout)
	})
	for wait := time.Second; ; wait = min(wait*2, 15*time.Second) {
		r, err := a.m.c.Resource(ctx, gvk)
		if err == nil {
			return r, nil
		}
		left := time.Until(a.deferEnd)
		if !last && !isUnknownKind(err) || left <= 0 {
			return Resource{}, fmt.Errorf("%w", err)
		}
		if err := sleep(ctx, min(wait, left)); err != nil {
			return Resource{}, err
		}
	}
}
