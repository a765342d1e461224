// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
)

const maxBlocked = 20

// pruneAll deletes what left the set. It is reached only when everything
// before it succeeded.
func (x *run) pruneAll(ctx context.Context, o *v1.Kustomization) (next reconcile.Result, err error) {
	kept := x.applied.Inventory()
	stale := x.old.Minus(kept)
	if stale.Len() == 0 || !x.complete {
		return next, nil
	}
	if !o.Spec.Prune {
		if err := x.ledger.Commit(ctx, kept, stale); err != nil {
			return next, failed(meta.InventoryFailedReason, err, "%v", err)
		}
		return next, nil
	}
	if _, ok := reconcile.Resumed[*parked](ctx); ok {
		x.ledger = inventory.NewLedger(&statusStore{Reconciler: x.Reconciler, o: o}) // of this run's object
	} else if w := x.awaitSuccessors(ctx, o); w != nil {
		reconcile.Progress(ctx, "Waiting for Kustomizations that may take over objects of revision %s", x.source.Revision)
		x.objects, x.built, x.plan = nil, nil, nil // not needed any more
		return reconcile.Park(&parked{Waiter: w, run: x}), nil
	}
	opts := PruneOptions(o, x.flags, x.Namespace)
	opts.Ledger = x.ledger
	opts.Claimed = x.claimed(o)
	x.prune, err = x.manager.PlanPrune(ctx, x.old, x.applied, opts)
	if err != nil {
		return next, pruneFailure(o, err)
	}
	return next, x.deleteAll(ctx, o, opts.DeleteOptions)
}

// deleteAll executes the delete plan and tells what went.
func (x *run) deleteAll(ctx context.Context, o *v1.Kustomization, opts ssa.DeleteOptions) error {
	res, err := x.manager.Delete(ctx, x.prune, opts)
	x.record(res)
	x.warnProtected(ctx, o)
	x.changed(ctx, o, err)
	if err != nil {
		return failed(meta.PruneFailedReason, err, "prune failed: %v", err)
	}
	return nil
}

// pruneFailure words an error of planning a prune.
func pruneFailure(o *v1.Kustomization, err error) error {
	var blocked *ssa.PruneBlockedError
	if !errors.As(err, &blocked) {
		if isUnreachable(err) {
			return unreachable(o, err)
		}
		return failed(meta.PruneFailedReason, err, "prune failed: %v", err)
	}
	return stalled(meta.PruneBlockedReason, err, "%s", blockedText(blocked))
}

func blockedText(b *ssa.PruneBlockedError) string {
	ids := make([]string, 0, maxBlocked)
	for _, id := range b.IDs[:min(len(b.IDs), maxBlocked)] {
		ids = append(ids, id.Display())
	}
	if more := len(b.IDs) - maxBlocked; more > 0 {
		ids = append(ids, fmt.Sprintf("… and %d more", more))
	}
	what := fmt.Sprintf("%d objects would be deleted: %s", len(b.IDs), strings.Join(ids, ", "))
	switch b.Why {
	case ssa.PruneEmpty:
		return "nothing deleted: the build is empty while " + what + fmt.Sprintf("; check spec.path and the source, or set annotation %s: \"true\"", allowEmptyKey)
	case ssa.PruneBudget, ssa.PruneConfirm:
		return "nothing deleted: " + what + fmt.Sprintf("; to delete exactly these, set annotation %s: %s", approvedKey, b.Digest)
	}
	return "nothing deleted: " + what
}

// warnProtected names what a guard kept.
func (x *run) warnProtected(ctx context.Context, o *v1.Kustomization) {
	if x.prune == nil {
		return
	}
	var kept []string
	for _, e := range x.prune.Entries {
		if e.Why == ssa.WhyProtected {
			kept = append(kept, e.ID.Display())
		}
	}
	if len(kept) > 0 {
		reconcile.Emit(ctx, x.event(o, events.Warning, "PruneProtected", "kept protected objects: "+changeSet(kept)))
	}
}

// claimed finds which ids other Kustomizations with the same target list in
// their inventories.
func (x *run) claimed(o *v1.Kustomization) func(context.Context, []ssa.ID) (map[ssa.ID]ssa.Owner, error) {
	return func(ctx context.Context, ids []ssa.ID) (map[ssa.ID]ssa.Owner, error) {
		var all v1.KustomizationList
		if err := x.Client.List(ctx, &all); err != nil {
			return nil, err
		}
		out := map[ssa.ID]ssa.Owner{}
		for i := range all.Items {
			other := &all.Items[i]
			if other.UID == o.UID || !sameCluster(o, other) || !other.DeletionTimestamp.IsZero() {
				continue
			}
			theirs, err := x.fullInventory(ctx, other)
			if err != nil {
				return nil, err
			}
			for _, id := range ids {
				if theirs.Contains(id) {
					out[id] = OwnerOf(other)
				}
			}
		}
		return out, nil
	}
}

// sameCluster reports whether two Kustomizations write to one cluster.
func sameCluster(a, b *v1.Kustomization) bool {
	if a.Spec.KubeConfig == nil && b.Spec.KubeConfig == nil {
		return true
	}
	return a.Namespace == b.Namespace && reflect.DeepEqual(a.Spec.KubeConfig, b.Spec.KubeConfig)
}

// ownerExists reports whether the Kustomization that labels an object still
// exists.
func (x *run) ownerExists(ctx context.Context, owner ssa.Owner) (bool, error) {
	var other v1.Kustomization
	err := x.Client.Get(ctx, keyOf(owner.Namespace, owner.Name), &other)
	if err != nil {
		return false, ignoreNotFound(err)
	}
	return true, nil
}

// warnOwners tells about objects that move here from another Kustomization
// which still lists them.
func (x *run) warnOwners(ctx context.Context, o *v1.Kustomization) {
	for _, e := range x.plan.Entries {
		if e.Other == nil {
			continue
		}
		var other v1.Kustomization
		if err := x.Client.Get(ctx, keyOf(e.Other.Namespace, e.Other.Name), &other); err != nil {
			continue
		}
		if theirs, err := x.fullInventory(ctx, &other); err != nil || !theirs.Contains(e.ID) {
			continue
		}
		reconcile.Emit(ctx, x.event(o, events.Warning, "OwnershipConflict",
			fmt.Sprintf("%s belongs to Kustomization %s/%s, too; it moves to %s/%s", e.ID.Display(), other.Namespace, other.Name, o.Namespace, o.Name)))
	}
}
