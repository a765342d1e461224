// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/ssa"
)

const maxLines = 200

// planAll decides per object what an apply would do, and stops here when one
// is invalid or nothing is to be done.
func (x *run) planAll(ctx context.Context, o *v1.Kustomization) (next reconcile.Result, err error) {
	reconcile.Progress(ctx, "Detecting drift for revision %s with a timeout of %s", x.source.Revision, o.GetTimeout())
	if x.complete, err = x.loadInventory(ctx, o); err != nil {
		return next, err
	}
	x.old = x.ledger.Set()
	opts := PlanOptions(o, x.flags)
	opts.Provenance = x.built.Source
	opts.OwnerExists = x.ownerExists
	opts.MigrateAPIVersion = x.Gates.Enabled("MigrateAPIVersion")
	m := x.memory(o.UID)
	opts.Verified = m.verified
	x.plan, err = x.manager.Plan(ctx, x.objects, opts)
	if x.invalid = err; err != nil && !x.partial(o, err) {
		return next, applyFailure(o, err)
	}
	m.verified = x.plan.Verified
	x.warnOwners(ctx, o)
	if x.complete && x.nothingToDo(o) && x.nothingToPrune(ctx, o) {
		return x.quiet(ctx, o)
	}
	return next, nil
}

// nothingToPrune reports whether everything that left the set stays on
// purpose.
func (x *run) nothingToPrune(ctx context.Context, o *v1.Kustomization) bool {
	stale := x.old.Minus(x.plan.Inventory())
	if stale.Len() == 0 {
		return true
	}
	opts := PruneOptions(o, x.flags, x.Namespace)
	opts.Claimed = x.claimed(o)
	p, err := x.manager.PlanPrune(ctx, x.old, x.plan, opts)
	return err == nil && o.Spec.Prune && len(p.Deletions()) == 0
}

// partial reports whether an apply of a plan with invalid objects does
// anything: valid objects go first when asked for, and so do earlier stages.
func (x *run) partial(o *v1.Kustomization, err error) bool {
	if _, ok := errors.AsType[*ssa.PlanError](err); !ok {
		return false
	}
	if ApplyOptions(o).ContinueOnError {
		return true
	}
	for _, e := range x.plan.Entries { // in order of the stages
		switch e.Decision {
		case ssa.DecisionBlocked:
			return false
		case ssa.DecisionCreate, ssa.DecisionUpdate, ssa.DecisionRecreate:
			return x.blockedLater(e.Stage)
		default:
		}
	}
	return false
}

func (x *run) blockedLater(stage int) bool {
	for _, e := range x.plan.Entries {
		if e.Decision == ssa.DecisionBlocked {
			return e.Stage > stage
		}
	}
	return false
}

// nothingToDo reports whether cluster and status are as they should be.
func (x *run) nothingToDo(o *v1.Kustomization) bool {
	for _, e := range x.plan.Entries {
		if e.Decision != ssa.DecisionUnchanged && e.Decision != ssa.DecisionSkip {
			return false
		}
	}
	kept := x.plan.Inventory()
	token, _ := meta.ReconcileRequested(o.Annotations)
	return x.old.ContainsAll(kept) &&
		o.Status.LastAppliedRevision == x.source.Revision &&
		o.Status.LastAppliedOriginRevision == x.origin &&
		o.Status.ObservedGeneration == o.Generation &&
		(token == "" || token == o.Status.LastHandledReconcileAt) &&
		conditions.IsTrue(o, meta.ReadyCondition)
}

// apply writes what the plan says. What may come to exist is in the stored
// inventory before the first write.
func (x *run) apply(ctx context.Context, o *v1.Kustomization) (next reconcile.Result, err error) {
	o.Status.LastAttemptedRevision = x.source.Revision
	conditions.MarkUnknown(o, meta.ReadyCondition, meta.ProgressingReason, "Reconciliation in progress")
	reconcile.Progress(ctx, "Applying manifests for revision %s with a timeout of %s", x.source.Revision, o.GetTimeout())
	if err := x.ledger.Begin(ctx, x.plan.Inventory()); err != nil {
		return next, failed(meta.InventoryFailedReason, err, "%v", err)
	}
	if err := reconcile.Checkpoint(ctx); err != nil {
		return next, err
	}
	opts := ApplyOptions(o)
	opts.Ledger = x.ledger
	x.applied, err = x.manager.Apply(ctx, x.plan, opts)
	if err == nil {
		err = x.invalid
	}
	x.record(x.applied)
	x.changed(ctx, o, err)
	if err != nil {
		return next, applyFailure(o, err)
	}
	x.targets = x.applied.Targets()
	return next, nil
}

// record adds the lines of what a result changed.
func (x *run) record(r *ssa.Result) {
	if r == nil {
		return
	}
	for _, out := range r.Outcomes {
		switch {
		case out.Action == ssa.ActionCreated, out.Action == ssa.ActionConfigured, out.Action == ssa.ActionDeleted && out.UID != "":
			x.changes = append(x.changes, fmt.Sprintf("%s %s", out.ID.Display(), out.Action))
		}
	}
}

// changed emits the change set. A failed run tells it with its error instead.
func (x *run) changed(ctx context.Context, o *v1.Kustomization, err error) {
	if err != nil || len(x.changes) == 0 {
		return
	}
	reconcile.Emit(ctx, x.event(o, events.Normal, meta.ProgressingReason, changeSet(x.changes)))
	x.changes = nil
}

// changeSet joins lines, the first 200 of them.
func changeSet(lines []string) string {
	if len(lines) > maxLines {
		lines = append(lines[:maxLines:maxLines], fmt.Sprintf("… and %d more", len(lines)-maxLines))
	}
	return strings.Join(lines, "\n")
}

// applyFailure words an error of plan or apply.
func applyFailure(o *v1.Kustomization, err error) error {
	switch {
	case errors.Is(err, ssa.ErrInventory):
		return failed(meta.InventoryFailedReason, err, "%v", err)
	case isUnreachable(err):
		return unreachable(o, err)
	}
	if errors.Is(err, ssa.ErrKindUnknown) {
		return failed(meta.ReconciliationFailedReason, err, "%v; install the missing CustomResourceDefinition, or add it to this set", err)
	}
	return failed(meta.ReconciliationFailedReason, err, "%v", err)
}
