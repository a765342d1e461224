// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
)

// ErrNoRun is returned by functions that need the context of a run.
var ErrNoRun = errors.New("no run in context")

// WaitingError ends a run that waits for another object.
type WaitingError struct {
	// Message for the Ready condition.
	Message string
	// ReasonText is the reason; "" is DependencyNotReady.
	ReasonText string
	// After runs the object again after that time; 0 is the process's default.
	After time.Duration
	// Err is a cause, may be nil.
	Err error
}

// Error returns the message.
func (e *WaitingError) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *WaitingError) Unwrap() error { return e.Err }

// Reason returns the reason.
func (e *WaitingError) Reason() string {
	if e.ReasonText == "" {
		return meta.DependencyNotReadyReason
	}
	return e.ReasonText
}

// Terminal returns false.
func (e *WaitingError) Terminal() bool { return false }

// TerminalError ends a run that must not be retried.
type TerminalError struct {
	// ReasonText is the reason of Ready and Stalled.
	ReasonText string
	// Err is the cause.
	Err error
}

// Error returns the text of the cause.
func (e *TerminalError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *TerminalError) Unwrap() error { return e.Err }

// Reason returns the reason.
func (e *TerminalError) Reason() string { return e.ReasonText }

// Terminal returns true.
func (e *TerminalError) Terminal() bool { return true }

// ReasonError gives an error a reason.
type ReasonError struct {
	// ReasonText is the reason of Ready.
	ReasonText string
	// Err is the cause.
	Err error
}

// Error returns the text of the cause.
func (e *ReasonError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ReasonError) Unwrap() error { return e.Err }

// Reason returns the reason.
func (e *ReasonError) Reason() string { return e.ReasonText }

// Waiting returns a [*WaitingError]: the run ends with Ready=False, reason
// DependencyNotReady, and is repeated when the other object changes or after
// the process's default delay.
func Waiting(format string, a ...any) error { return &WaitingError{Message: sprintf(format, a)} }

// Terminal returns err as a [*TerminalError], nil for nil.
func Terminal(reason string, err error) error {
	if err == nil {
		return nil
	}
	return &TerminalError{ReasonText: reason, Err: err}
}

// WithReason returns err with a reason, nil for nil. Whether it is terminal or
// waiting does not change.
func WithReason(reason string, err error) error {
	if err == nil {
		return nil
	}
	return &ReasonError{ReasonText: reason, Err: err}
}

// Outcome of a run.
type Outcome string

// Outcomes.
const (
	// Succeeded runs ended without error.
	Succeeded Outcome = "success"
	// Unchanged runs had nothing to do.
	Unchanged Outcome = "unchanged"
	// Waits runs wait for another object.
	Waits Outcome = "waiting"
	// Transient runs failed and are retried.
	Transient Outcome = "transient"
	// Stalled runs failed for good.
	Stalled Outcome = "terminal"
	// Parked runs go on when their waiter is done.
	Parked Outcome = "parked"
	// Aborted runs were cut short by shutdown or a lost lease.
	Aborted Outcome = "aborted"
)

// classify turns result and error of a run into its outcome.
func classify(ctx context.Context, res Result, err error) Outcome {
	var waiting *WaitingError
	switch {
	case err == nil && res.waiter != nil:
		return Parked
	case err == nil && res.Unchanged:
		return Unchanged
	case err == nil:
		return Succeeded
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return Aborted
	case isTerminal(err):
		return Stalled
	case errors.As(err, &waiting):
		return Waits
	}
	return Transient
}

// isTerminal reports whether any error of the tree says so.
func isTerminal(err error) bool {
	if err == nil {
		return false
	}
	if t, ok := err.(interface{ Terminal() bool }); ok && t.Terminal() { //nolint:errorlint // every node is visited
		return true
	}
	switch u := err.(type) { //nolint:errorlint // every node is visited
	case interface{ Unwrap() error }:
		return isTerminal(u.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range u.Unwrap() {
			if isTerminal(e) {
				return true
			}
		}
	}
	return false
}

// reasonOf returns the outermost reason of the tree, else Failed.
func reasonOf(err error) string {
	var r interface{ Reason() string }
	if errors.As(err, &r) && r.Reason() != "" {
		return r.Reason()
	}
	return meta.FailedReason
}

// scopeOf returns what fails alike for several objects, "" when nothing does.
func scopeOf(err error) string {
	var s interface{ Scope() string }
	if errors.As(err, &s) {
		return s.Scope()
	}
	return ""
}

// panicError is a recovered panic. Its text shows no value.
type panicError struct{ value any }

func (e *panicError) Error() string {
	if err, ok := e.value.(error); ok {
		return fmt.Sprintf("panic during the run: %T", err)
	}
	return "panic during the run"
}

func (e *panicError) Reason() string { return meta.ReconcilePanicReason }
func (e *panicError) Terminal() bool { return false }

// stepError names the step for logs; the status shows the cause only.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// failedStep returns the name of the step that failed.
func failedStep(err error) string {
	var s *stepError
	if errors.As(err, &s) {
		return s.step
	}
	return ""
}
