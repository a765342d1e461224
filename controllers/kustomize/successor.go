// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
)

// successorPoll is the time between two looks into the cache.
const successorPoll = 100 * time.Millisecond

// successors is the wait for Kustomizations of the same source that have not
// seen the current revision: an object that leaves one set may be on its way
// into theirs.
type successors struct {
	done chan struct{}
	stop context.CancelFunc
}

// Done is closed when nobody can take an object over any more.
func (s *successors) Done() <-chan struct{} { return s.done }

// Stop ends the wait.
func (s *successors) Stop() { s.stop() }

// awaitSuccessors starts the wait, nil when there is nobody to wait for.
func (x *run) awaitSuccessors(ctx context.Context, o *v1.Kustomization) *successors {
	if x.flags.PruneSuccessorWait <= 0 || !x.behind(ctx, o, x.source.Revision) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.flags.PruneSuccessorWait)
	s := &successors{done: make(chan struct{}), stop: cancel}
	revision, o := x.source.Revision, o.DeepCopy()
	go func() {
		defer close(s.done)
		defer cancel()
		t := time.NewTicker(successorPoll)
		defer t.Stop()
		for x.behind(ctx, o, revision) {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
		}
	}()
	return s
}

// behind reports whether a Kustomization on the same source has not attempted
// the revision. Suspended ones and those that wait for o do not count.
func (r *Reconciler) behind(ctx context.Context, o *v1.Kustomization, revision string) bool {
	var all v1.KustomizationList
	if err := r.Client.List(ctx, &all); err != nil {
		return ctx.Err() == nil
	}
	waiting := dependents(all.Items, client.ObjectKeyFromObject(o))
	for i := range all.Items {
		other := &all.Items[i]
		if other.UID == o.UID || other.Spec.Suspend || !other.DeletionTimestamp.IsZero() || waiting[client.ObjectKeyFromObject(other)] {
			continue
		}
		if other.Spec.SourceRef.Kind == o.Spec.SourceRef.Kind && SourceOf(other) == SourceOf(o) && other.Status.LastAttemptedRevision != revision {
			return true
		}
	}
	return false
}

// dependents returns the Kustomizations that depend on one, directly or not.
func dependents(all []v1.Kustomization, on types.NamespacedName) map[types.NamespacedName]bool {
	out := map[types.NamespacedName]bool{on: true}
	for grown := true; grown; {
		grown = false
		for i := range all {
			name := client.ObjectKeyFromObject(&all[i])
			if out[name] {
				continue
			}
			for _, d := range all[i].Spec.DependsOn {
				if dependencyKind(d).Kind == v1.KustomizationKind && out[DependencyName(&all[i], d)] {
					out[name], grown = true, true
					break
				}
			}
		}
	}
	return out
}
