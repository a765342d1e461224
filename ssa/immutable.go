// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// immutable decides an entry whose dry-run named immutable fields.
func (pl *planner) immutable(ctx context.Context, e *Entry, fields []string, refusal error) {
	x := e.x
	im := &ImmutableError{ID: e.ID, Fields: fields}
	block := func(why string, err error) {
		im.Why = why
		if err != nil {
			im.Err = pl.p.mask.objectError(e.ID, OpDryRun, e.Source, x.desired, err)
		}
		oe := pl.p.mask.objectError(e.ID, OpDryRun, e.Source, x.desired, refusal)
		oe.Fields, oe.Err = fields, im
		if why != "" {
			oe.Message = oneLine(oe.Message + ": " + why)
		}
		e.block(WhyImmutable, OpDryRun, oe)
	}
	if !pl.o.Force && !pl.o.ForceSelector.either(x.desired, x.live.u) {
		block("", nil)
		return
	}
	if err := pl.createDryRun(ctx, e); err != nil {
		block("the replacement is refused, too: "+pl.p.mask.objectError(e.ID, OpDryRun, "", x.desired, err).Message, err)
		return
	}
	if why := keepsData(groupKind(e.ID)); why != "" && (why == neverRecreated || !pl.o.ForceSelector.either(x.desired, x.live.u)) {
		x.precious = why // ApplyOptions.RecreateAny lifts it
		block(why, nil)
		return
	}
	live := drifting(strip(x.live.u.Object, x.desired.Object, x.ignore, keyFinder{}))
	e.Changes = pl.p.mask.changes(e, wantedOf(live, x.sent.Object), drifting(x.sent.Object))
	e.decide(DecisionRecreate, WhyImmutable)
}

const (
	neverRecreated = "this kind is never recreated"
	onlyMarked     = "this kind is recreated only when the object itself is marked"
)

// keepsData says why a kind is not recreated just because of Force.
func keepsData(gk schema.GroupKind) string {
	switch gk {
	case schema.GroupKind{Kind: "Namespace"}, schema.GroupKind{Kind: "PersistentVolume"}:
		return neverRecreated
	case schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}, schema.GroupKind{Kind: "PersistentVolumeClaim"}:
		return onlyMarked
	}
	return ""
}

// wantedOf reduces live to the fields that desired has, so that defaults do
// not show up as removals.
func wantedOf(live, desired map[string]any) map[string]any {
	out := map[string]any{}
	for k, want := range desired {
		have, ok := live[k]
		if !ok {
			continue
		}
		hm, ok1 := have.(map[string]any)
		wm, ok2 := want.(map[string]any)
		if ok1 && ok2 {
			out[k] = wantedOf(hm, wm)
			continue
		}
		out[k] = have
	}
	return out
}

// createDryRun asks whether a replacement would be accepted. AlreadyExists is
// a yes: the server validates before it looks.
func (pl *planner) createDryRun(ctx context.Context, e *Entry) error {
	x := e.x
	body := &unstructured.Unstructured{Object: cloneMap(x.sent.Object)}
	if e.ID.Group == "" && e.ID.Kind == "Service" {
		dropAllocated(body.Object, x.live.u.Object)
	}
	pl.count.dryRun.Add(1)
	_, err := pl.m.c.Send(ctx, Write{
		Verb: VerbCreate, Resource: x.r, Namespace: e.ID.Namespace, Object: body, FieldManager: pl.m.o.Owner.FieldManager, DryRun: true,
	})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// dropAllocated removes addresses and ports that the live Service still holds.
func dropAllocated(body, live map[string]any) {
	b, l := nestedMap(body, "spec"), nestedMap(live, "spec")
	for _, k := range [...]string{"clusterIP", "clusterIPs", "healthCheckNodePort"} {
		if v, ok := b[k]; ok && same(v, l[k]) {
			delete(b, k)
		}
	}
	ports, _ := b["ports"].([]any)
	livePorts, _ := l["ports"].([]any)
	for _, p := range ports {
		p, _ := p.(map[string]any)
		for _, lp := range livePorts {
			lp, _ := lp.(map[string]any)
			if v, ok := p["nodePort"]; ok && same(v, lp["nodePort"]) {
				delete(p, "nodePort")
			}
		}
	}
}
