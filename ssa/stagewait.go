// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// establishTime bounds the wait for definitions of kinds; discovery is asked
// again after discoverPause, then less often.
const (
	establishTime = 60 * time.Second
	discoverPause = 20 * time.Millisecond
)

// established waits until the kinds that entries[from:to] defined are served.
func (a *applier) established(ctx context.Context, from, to int) bool {
	var targets []Target
	var kinds []schema.GroupVersionKind
	for i := from; i < to; i++ {
		e, o := &a.entries[i], &a.res.Outcomes[i]
		if o.changed && groupKind(e.ID) == (schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}) {
			targets = append(targets, Target{ID: e.ID, Version: e.Version, UID: o.UID})
			kinds = append(kinds, definedKinds(e.x.desired.Object)...)
			if r, ok := a.m.c.(Refresher); ok {
				r.Refresh(nestedString(e.x.desired.Object, "spec", "group"))
			}
		}
	}
	end := time.Now().Add(establishTime)
	if !a.waitFor(ctx, targets, establishTime) {
		return false
	}
	for _, gvk := range kinds {
		a.discovered(ctx, gvk, end)
	}
	return true
}

// discovered waits until discovery knows the kind: the server says that a
// definition is established shortly before it serves the kind. When that takes
// too long, who needs the kind will say so.
func (a *applier) discovered(ctx context.Context, gvk schema.GroupVersionKind, end time.Time) {
	for pause := discoverPause; ; pause = min(2*pause, time.Second) {
		if _, err := a.m.c.Resource(ctx, gvk); !isUnknownKind(err) {
			return
		}
		if time.Now().After(end) || sleep(ctx, pause) != nil {
			return
		}
	}
}

// await waits for what the stage created or updated.
func (a *applier) await(ctx context.Context, from, to int) bool {
	n := a.entries[from].Stage
	if n >= len(a.m.stages) || a.m.stages[n].Wait <= 0 {
		return true
	}
	var targets []Target
	for i := from; i < to; i++ {
		if o := &a.res.Outcomes[i]; o.changed {
			targets = append(targets, Target{ID: o.ID, Version: o.Version, UID: o.UID, Changed: true})
		}
	}
	return a.waitFor(ctx, targets, a.m.stages[n].Wait)
}

func (a *applier) waitFor(ctx context.Context, targets []Target, timeout time.Duration) bool {
	if len(targets) == 0 {
		return true
	}
	_, err := a.m.Wait(ctx, targets, WaitOptions{Timeout: timeout})
	if err == nil {
		return true
	}
	if ctx.Err() == nil {
		a.extra = append(a.extra, err)
	}
	why := oneLine(fmt.Sprintf("stage wait: %v", err))
	if a.o.ContinueOnError && ctx.Err() == nil {
		return true
	}
	return a.stop(why)
}

// awaitDependencies waits until what entries[from:to] depend on is Current;
// entries whose dependencies are not stay unwritten.
func (a *applier) awaitDependencies(ctx context.Context, from, to int) {
	need := map[ID]Target{}
	for i := from; i < to; i++ {
		for _, id := range a.entries[i].x.depends {
			if k, ok := a.index[id]; ok {
				o := &a.res.Outcomes[k]
				need[id] = Target{ID: id, Version: o.Version, UID: o.UID, Changed: o.changed}
			}
		}
	}
	targets := make([]Target, 0, len(need))
	for _, t := range need {
		if o := &a.res.Outcomes[a.index[t.ID]]; o.exists {
			targets = append(targets, t)
		}
	}
	res, err := a.m.Wait(ctx, targets, WaitOptions{Timeout: dependencyWait, KeepGoing: true})
	if err == nil {
		return
	}
	late := map[ID]bool{}
	for _, h := range res.Targets {
		late[h.ID] = h.Status != "Current"
	}
	for i := from; i < to; i++ {
		for _, id := range a.entries[i].x.depends {
			if late[id] {
				e := &a.entries[i]
				e.block(WhyInvalid, OpApply, fmt.Errorf("%w: %s is not ready", errDependency, id.Display()))
				a.res.Outcomes[i].Err = e.Err
			}
		}
	}
}
