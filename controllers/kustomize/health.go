// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/ssa"
)

// glance bounds the health check of a run that changed nothing: what is
// healthy shows it at once.
const glance = 5 * time.Second

// parked is something to wait for without a worker, with the run that waits.
type parked struct {
	reconcile.Waiter
	run *run
}

// health waits until what was applied works.
func (x *run) health(ctx context.Context, o *v1.Kustomization) (next reconcile.Result, err error) {
	if p, ok := reconcile.Resumed[*parked](ctx); ok {
		if w, ok := p.Waiter.(interface{ Err() error }); ok {
			err = w.Err()
		}
		return next, x.healthy(ctx, o, err)
	}
	targets := x.healthTargets(o)
	if len(targets) == 0 {
		conditions.Delete(o, meta.HealthyCondition)
		return next, nil
	}
	opts, err := x.waitOptions(o)
	if err != nil {
		return next, err
	}
	reconcile.Progress(ctx, "Running health checks for revision %s with a timeout of %s", x.source.Revision, o.GetTimeout())
	conditions.MarkUnknown(o, meta.HealthyCondition, meta.ProgressingReason, "Running health checks for revision %s with a timeout of %s", x.source.Revision, o.GetTimeout())
	x.waiting = time.Now()
	x.objects, x.built, x.plan = nil, nil, nil // not needed while parked
	return reconcile.Park(&parked{Waiter: x.manager.StartWait(ctx, targets, opts), run: x}), nil
}

func (x *run) waitOptions(o *v1.Kustomization) (ssa.WaitOptions, error) {
	rules, err := HealthRules(o, x.expressions)
	if err != nil {
		return ssa.WaitOptions{}, err
	}
	return ssa.WaitOptions{Rules: rules, Timeout: o.GetTimeout(), KeepGoing: x.Gates.Enabled("DisableFailFastBehavior")}, nil
}

// healthy records the outcome of a health check.
func (x *run) healthy(ctx context.Context, o *v1.Kustomization, err error) error {
	took := roundUp(time.Since(x.waiting))
	if err != nil {
		text := fmt.Sprintf("health check failed after %s: %v", took, err)
		conditions.MarkFalse(o, meta.HealthyCondition, meta.HealthCheckFailedReason, "%s", text)
		return failed(meta.HealthCheckFailedReason, err, "%s", text)
	}
	text := fmt.Sprintf("Health check passed in %s", took)
	unwell := !conditions.IsTrue(x.before, meta.HealthyCondition)
	if unwell || x.before.Status.LastAppliedRevision != x.source.Revision {
		reconcile.Emit(ctx, x.event(o, events.Normal, meta.ProgressingReason, text))
	}
	conditions.MarkTrue(o, meta.HealthyCondition, meta.SucceededReason, "%s", text)
	return nil
}

// healthTargets lists what has to work: everything applied, or what
// spec.healthChecks names, without the Kustomization itself.
func (x *run) healthTargets(o *v1.Kustomization) []ssa.Target {
	self := ssa.ID{Namespace: o.Namespace, Name: o.Name, Group: group, Kind: v1.KustomizationKind}
	var out []ssa.Target
	if o.Spec.Wait {
		for _, t := range x.targets {
			if t.ID != self {
				out = append(out, t)
			}
		}
		return out
	}
	for _, h := range o.Spec.HealthChecks {
		version := h.APIVersion
		if version == "" {
			version = "apps/v1"
		}
		gv, err := schema.ParseGroupVersion(version)
		if err != nil {
			continue
		}
		t := ssa.Target{ID: ssa.ID{Namespace: h.Namespace, Name: h.Name, Group: gv.Group, Kind: h.Kind}, Version: gv.Version}
		if t.ID != self {
			out = append(out, t)
		}
	}
	return out
}

// roundUp makes durations of messages short and never zero.
func roundUp(d time.Duration) time.Duration {
	return max(d.Round(time.Millisecond), time.Millisecond)
}
