// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"crypto/rand"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
)

// Harness is the harness without a manager, for tests.
type Harness[T Object] struct{ h *harness[T] }

// NewHarness returns a harness that is not connected to a manager.
func NewHarness[T Object](k Kit, r Reconciler[T], o Options[T]) (*Harness[T], error) {
	h, err := newHarness(k, r, o)
	if err != nil {
		return nil, err
	}
	return &Harness[T]{h}, nil
}

// Reconcile runs one object.
func (h *Harness[T]) Reconcile(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	return h.h.Reconcile(ctx, r)
}

// Start gives the harness a queue, as a controller does when it starts.
func (h *Harness[T]) Start() { h.h.newQueue("", nil) }

// Next waits for the next queued object.
func (h *Harness[T]) Next() (ctrl.Request, bool) { return h.h.q.Get() }

// Done ends the processing of an object.
func (h *Harness[T]) Done(r ctrl.Request) { h.h.q.Done(r) }

// Stop ends the queue.
func (h *Harness[T]) Stop() {
	h.h.q.ShutDown()
	h.h.parker.stopAll()
}

// ParkedRuns is the number of parked runs.
func (h *Harness[T]) ParkedRuns() int { return h.h.parker.len() }

// SetNow replaces the clock.
func (h *Harness[T]) SetNow(now func() time.Time) { h.h.now = now }

// Remember puts an object into the index of watches.
func (h *Harness[T]) Remember(o T) { h.h.remember(o) }

// Mark gives the harness markers in a directory, as a process that starts does.
func (h *Harness[T]) Mark(dir string) (err error) {
	h.h.marks, err = openMarkers(dir, h.h.kind, rand.Text())
	return err
}

// Die leaves the marker of a run behind, as a process that dies during it does.
func (h *Harness[T]) Die(o T) { _, _ = h.h.marks.begin(o) }
