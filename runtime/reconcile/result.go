// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"time"
)

// Result is what a step or a run returns beside an error. The zero value lets
// the next step run; at the end it means success.
type Result struct {
	// Done ends the run with success; no further step runs.
	Done bool
	// Unchanged ends the run: nothing had to be done. Ready stays as it is.
	Unchanged bool
	// Reason and Message of Ready; an empty reason is Succeeded.
	Reason, Message string
	// After runs the object again after that time instead of its interval.
	After time.Duration

	waiter Waiter
}

// Waiter is work that goes on without the run, such as a health check.
type Waiter interface {
	// Done is closed when the work has ended.
	Done() <-chan struct{}
	// Stop ends it early; Done is closed then, too.
	Stop()
}

// Success ends the run with Ready=True and this message.
func Success(format string, a ...any) Result {
	return Result{Done: true, Message: sprintf(format, a)}
}

// NoChange ends the run: there was nothing to do. If nothing else changed, no
// status is written.
func NoChange() Result { return Result{Done: true, Unchanged: true} }

// Park ends the run without result until w is done; then the run continues at
// the step that returned it, with w in [Resumed]. A new generation, request
// token, suspension or deletion stops w.
func Park(w Waiter) Result { return Result{waiter: w} }

// Parked reports whether the result comes from [Park] with a waiter.
func (r Result) Parked() bool { return r.waiter != nil }

// WithReason returns the result with a reason for Ready.
func (r Result) WithReason(reason string) Result {
	r.Reason = reason
	return r
}

// ends reports whether no further step runs.
func (r Result) ends() bool { return r.Done || r.Unchanged || r.waiter != nil }

// Resumed returns the waiter of the step, when the run was parked by it and w
// is done. It is meant for the first line of the step that calls [Park].
func Resumed[W Waiter](ctx context.Context) (W, bool) {
	var zero W
	st := stateOf(ctx)
	if st == nil || st.resumed == nil {
		return zero, false
	}
	w, ok := st.resumed.(W)
	return w, ok
}

func sprintf(format string, a []any) string {
	if len(a) == 0 {
		return format
	}
	return fmt.Sprintf(format, a...)
}
