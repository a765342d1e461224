// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/ssa"
)

const (
	revisionKey = "revision"
	originMeta  = "originRevision"
	statusKey   = "commit_status"
)

// validate refuses what no retry can heal.
func (x *run) validate(_ context.Context, o *v1.Kustomization) (next reconcile.Result, err error) {
	if !o.Spec.Wait && len(o.Spec.HealthChecks) == 0 {
		conditions.Delete(o, meta.HealthyCondition)
	}
	return next, Validate(o, x.Gates.Enabled, x.flags, x.expressions)
}

// done records what is applied.
func (x *run) done(ctx context.Context, o *v1.Kustomization) (reconcile.Result, error) {
	o.Status.LastAppliedRevision = x.source.Revision
	o.Status.LastAttemptedRevision = x.source.Revision
	o.Status.LastAppliedOriginRevision = x.origin
	x.snapshot(o, meta.ReconciliationSucceededReason)
	x.announce(ctx, o)
	return x.success(), nil
}

func (x *run) success() reconcile.Result {
	return reconcile.Result{
		Done:    true,
		Reason:  meta.ReconciliationSucceededReason,
		Message: "Applied revision: " + x.source.Revision,
	}
}

// quiet ends a run that found everything in place.
func (x *run) quiet(ctx context.Context, o *v1.Kustomization) (reconcile.Result, error) {
	for _, e := range x.plan.Entries {
		if e.Decision == ssa.DecisionUnchanged {
			x.targets = append(x.targets, ssa.Target{ID: e.ID, Version: e.Version})
		}
	}
	if targets := x.healthTargets(o); len(targets) > 0 {
		opts, err := x.waitOptions(o)
		if err != nil {
			return reconcile.Result{}, err
		}
		opts.Timeout = glance
		if _, err := x.manager.Wait(ctx, targets, opts); err != nil {
			if ctx.Err() != nil {
				return reconcile.Result{}, ctx.Err()
			}
			return reconcile.Result{}, nil // look properly
		}
	}
	x.announce(ctx, o)
	return reconcile.NoChange(), nil
}

// announce emits the event of a successful run: once per revision,
// generation, token and readiness, and once after the process started.
func (x *run) announce(ctx context.Context, o *v1.Kustomization) {
	token, _ := meta.ReconcileRequested(o.Annotations)
	now := fmt.Sprintf("%s %d %s", x.source.Revision, o.Generation, token)
	m := x.memory(o.UID)
	if m.announced == now && conditions.IsTrue(x.before, meta.ReadyCondition) && !x.Config.NoopEvents {
		return
	}
	m.announced = now
	e := x.event(o, events.Normal, meta.ReconciliationSucceededReason,
		fmt.Sprintf("Reconciliation finished in %s, next run in %s", roundUp(time.Since(x.started)), o.Spec.Interval.Duration))
	e.Metadata[statusKey] = "update"
	reconcile.Emit(ctx, e)
}

// failed records the outcome of a run that did not succeed.
func (x *run) failed(o *v1.Kustomization, err error) {
	var f *RunError
	if !errors.As(err, &f) {
		return
	}
	f.lines, f.data = x.changes, x.metadata()
	if x.source != nil {
		o.Status.LastAttemptedRevision = x.source.Revision
	}
	x.snapshot(o, f.Why)
}

// endEvent is the event about the end of a run. Successes are announced by
// the run itself; failures carry the lines of what was changed before.
func (r *Reconciler) endEvent(o *v1.Kustomization, s reconcile.Summary) (events.Event, bool) {
	e := events.Event{Object: o, Type: events.Warning, Reason: s.Reason, Message: s.Message}
	switch s.Outcome {
	case reconcile.Succeeded, reconcile.Unchanged:
		return e, false
	case reconcile.Waits:
		e.Type = events.Trace
		if s.Reason == meta.DependencyNotReadyReason {
			e.Type = events.Normal
			e.Message = fmt.Sprintf("Dependencies do not meet ready condition, retrying in %s", s.Next)
		}
		return e, true
	default:
	}
	if f, ok := errors.AsType[*RunError](s.Err); ok {
		e.Metadata = f.data
		if len(f.lines) > 0 {
			e.Message += "\n" + changeSet(f.lines)
		}
	}
	return e, true
}

// snapshot counts a run with something built in the history.
func (x *run) snapshot(o *v1.Kustomization, reason string) {
	if x.digest == "" {
		return
	}
	data := map[string]string{"revision": x.source.Revision}
	if x.origin != "" {
		data["originRevision"] = x.origin
	}
	o.Status.History.Upsert(meta.SnapshotUpdate{
		Digest: x.digest, Status: reason, At: time.Now(), Took: time.Since(x.started), Metadata: data,
	})
}

// event makes an event with the revision it is about.
func (x *run) event(o *v1.Kustomization, kind events.Type, reason, text string) events.Event {
	return events.Event{Object: o, Type: kind, Reason: reason, Message: text, Metadata: x.metadata()}
}

func (x *run) metadata() map[string]string {
	data := map[string]string{}
	if x.source != nil {
		data[revisionKey] = x.source.Revision
	}
	if x.origin != "" {
		data[originMeta] = x.origin
	}
	return data
}

func keyOf(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// isUnreachable reports whether err is one of the connection, not an answer.
func isUnreachable(err error) bool {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return apierrors.IsUnauthorized(err)
	}
	var n interface{ Timeout() bool }
	return errors.As(err, &n)
}
