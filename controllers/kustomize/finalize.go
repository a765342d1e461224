// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
)

// terminationPoll is the time between two looks at terminating objects.
const terminationPoll = time.Second

// Deletes reports whether deleting o deletes its objects.
func Deletes(o *v1.Kustomization) bool {
	if o.Spec.Suspend || o.Status.Inventory == nil || len(o.Status.Inventory.Entries) == 0 {
		return false
	}
	return o.GetDeletionPolicy() != v1.DeletionPolicyOrphan
}

// Finalize deletes what o applied, as its deletion policy says. The finalizer
// stays while objects that could be deleted are not.
func (r *Reconciler) Finalize(ctx context.Context, o *v1.Kustomization) (next reconcile.Result, err error) {
	x := &run{Reconciler: r, started: time.Now(), before: o.DeepCopy()}
	if !Deletes(o) {
		r.forget(o.UID)
		return next, x.dropChunks(ctx, o)
	}
	if name, err := x.dependent(ctx, o); err != nil {
		return next, err
	} else if name != "" {
		reconcile.Emit(ctx, x.event(o, events.Normal, "TeardownWaiting", "waiting for the deletion of dependent "+name))
		return next, waiting("TeardownWaiting", "waiting for the deletion of dependent %s", name)
	}
	if gone, err := x.unmanageable(ctx, o); err != nil || gone {
		return next, err
	}
	return x.teardown(ctx, o)
}

// teardown deletes the inventory and, where asked for, waits until it is gone.
func (x *run) teardown(ctx context.Context, o *v1.Kustomization) (next reconcile.Result, err error) {
	if x.manager, err = x.managerOf(ctx, o); err != nil {
		return next, teardownFailure(err)
	}
	opts := DeleteOptions(o, x.flags, x.Namespace)
	opts.Keep[confirmKey] = "confirm"
	opts.Claimed = x.claimed(o)
	if _, err = x.loadInventory(ctx, o); err != nil {
		return next, err
	}
	all := x.ledger.Set()
	if x.prune, err = x.manager.PlanDelete(ctx, all, opts); err != nil {
		return next, teardownFailure(err)
	}
	res, err := x.manager.Delete(ctx, x.prune, opts)
	x.record(res)
	x.changed(ctx, o, err)
	if err != nil {
		if left := remaining(all, res); !spilled(o) {
			o.Status.Inventory = inventoryOf(left)
		}
		return next, teardownFailure(err)
	}
	if o.GetDeletionPolicy() == v1.DeletionPolicyWaitForTermination && x.terminating(ctx, o, res) {
		return reconcile.Result{After: terminationPoll}, nil
	}
	x.forget(o.UID)
	return next, x.dropChunks(ctx, o)
}

// dropChunks removes what of a large inventory is outside the status.
func (x *run) dropChunks(ctx context.Context, o *v1.Kustomization) error {
	if !spilled(o) {
		return nil
	}
	return (&statusStore{Reconciler: x.Reconciler, o: o}).sweep(ctx)
}

// terminating reports whether some of the deleted objects are still there and
// there is time left to wait for them. The wait holds no worker: the run is
// repeated, and finds less to delete every time.
func (x *run) terminating(ctx context.Context, o *v1.Kustomization, res *ssa.Result) bool {
	var left []string
	for _, out := range res.Outcomes {
		if out.Action == ssa.ActionDeleted && out.UID != "" {
			left = append(left, out.ID.Display())
		}
	}
	if len(left) == 0 {
		return false
	}
	if time.Since(o.DeletionTimestamp.Time) < o.GetTimeout() {
		return true
	}
	reconcile.Emit(ctx, x.event(o, events.Warning, meta.PruneFailedReason, "failed to wait for resources termination: timeout, still there: "+changeSet(left)))
	return false
}

// remaining drops what was deleted from a set.
func remaining(s inventory.Set, res *ssa.Result) inventory.Set {
	var gone inventory.Set
	for _, out := range res.Outcomes {
		if out.Action == ssa.ActionDeleted {
			gone.Add(inventory.Item{ID: out.ID, Version: out.Version})
		}
	}
	return s.Minus(gone)
}

func teardownFailure(err error) error {
	return failed(meta.PruneFailedReason, err, "pruning for deleted resource failed: %v", err)
}

// unmanageable reports, once the time for it has come, that o's objects can
// not be deleted because the account or the kubeconfig is gone. Nothing is
// ever deleted with another identity.
func (x *run) unmanageable(ctx context.Context, o *v1.Kustomization) (bool, error) {
	var missing error
	if ref := o.Spec.KubeConfig; ref != nil && ref.SecretRef != nil {
		missing = x.APIReader.Get(ctx, keyOf(o.Namespace, ref.SecretRef.Name), &corev1.Secret{})
	} else if a := x.account(o); a.Name != "" {
		missing = x.APIReader.Get(ctx, a, &corev1.ServiceAccount{})
	}
	switch {
	case missing == nil:
		return false, nil
	case !apierrors.IsNotFound(missing):
		return false, missing
	}
	ending, err := x.ending(ctx, o.Namespace)
	if err != nil {
		return false, err
	}
	if !ending && time.Since(o.DeletionTimestamp.Time) < x.flags.DeletionOrphanTimeout {
		return false, failed(meta.PruneFailedReason, missing, "unable to prune objects: %v; restore it, or wait until they are given up after %s", missing, x.flags.DeletionOrphanTimeout)
	}
	var ids []string
	for item := range storedInventory(o).Items() {
		ids = append(ids, item.ID.Display())
	}
	reconcile.Emit(ctx, x.event(o, events.Warning, meta.PruneFailedReason, "unable to prune objects: \n"+strings.Join(ids, "\n")))
	x.forget(o.UID)
	return true, x.dropChunks(ctx, o)
}

func (x *run) ending(ctx context.Context, namespace string) (bool, error) {
	var ns corev1.Namespace
	err := x.APIReader.Get(ctx, keyOf("", namespace), &ns)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return !ns.DeletionTimestamp.IsZero(), err
}

// dependent names a Kustomization that depends on o and is being deleted,
// too: it goes first.
func (x *run) dependent(ctx context.Context, o *v1.Kustomization) (string, error) {
	if d := x.flags.TeardownOrderTimeout; d == 0 || time.Since(o.DeletionTimestamp.Time) > d {
		return "", nil
	}
	var all v1.KustomizationList
	if err := x.Client.List(ctx, &all); err != nil {
		return "", err
	}
	for i := range all.Items {
		other := &all.Items[i]
		if other.DeletionTimestamp.IsZero() || other.UID == o.UID {
			continue
		}
		for _, d := range other.Spec.DependsOn {
			if dependencyKind(d).Kind == v1.KustomizationKind && DependencyName(other, d) == keyOf(o.Namespace, o.Name) {
				return fmt.Sprintf("%s/%s", other.Namespace, other.Name), nil
			}
		}
	}
	return "", nil
}
