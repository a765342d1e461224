// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package reconcile is the harness that makes a controller thin: its author
// writes one Reconcile as a list of named steps, and everything around it that
// a correct controller needs is here.
//
// # Concepts
//
// [Setup] registers a [Reconciler] for a kind. For every run the harness reads
// the object, adds the finalizer, honours suspension, checks durations, calls
// Reconcile, turns its result or error into conditions, writes the status once,
// emits the events, and decides when to run again. [Do] runs [Step] values in
// order; a step ends the run by an error or a [Result]. [Park] ends a run that
// only waits, without holding a worker; it goes on at the same step when the
// waiter is done.
//
// The rules: success, or no change, is Ready=True; [Waiting] and errors that
// may go away are Ready=False and Reconciling; an error with a Terminal method
// that returns true is Ready=False and Stalled. The reason is the outermost
// Reason method in the error's tree. Text is never matched.
//
// # Errors
//
// [*WaitingError], [*TerminalError], [*ReasonError]. [ErrNoRun] is returned by
// functions that need the context of a run.
//
// # Limits
//
// One status write per run, one more per [Checkpoint] and per five seconds of
// progress; 10,000 parked runs; five token-triggered runs at once per object,
// then one per second.
//
// # Concurrency
//
// At most one run per object at a time. A run's functions are called from the
// goroutine of its Reconcile.
//
// # Telemetry
//
// Spans "reconcile <Kind>" and "step <name>"; metrics as in package metrics.
package reconcile
