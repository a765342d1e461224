// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"errors"
	"fmt"

	"github.com/gitops-kit/sdk/runtime/reconcile"
)

// RunError is an error that has been assigned the reason of the Ready
// condition. It hides the engine's verdict on whether a retry is pointless:
// here Stalled decides.
type RunError struct {
	Why     string // reason
	Stalled bool
	Text    string
	Err     error

	lines []string          // what was changed before
	data  map[string]string // metadata of the event
}

// Error returns the text that becomes the condition's message.
func (e *RunError) Error() string { return e.Text }

// Is reports whether the cause matches target. There is no Unwrap: an error
// in the cause must not overrule Stalled.
func (e *RunError) Is(target error) bool { return errors.Is(e.Err, target) }

// Reason returns the reason of the Ready condition.
func (e *RunError) Reason() string { return e.Why }

// Terminal reports whether the object stalls.
func (e *RunError) Terminal() bool { return e.Stalled }

// failed makes a failure that is retried.
func failed(reason string, err error, format string, args ...any) error {
	return &RunError{Why: reason, Err: err, Text: fmt.Sprintf(format, args...)}
}

// stalled makes a failure that only a change of spec or sources ends.
func stalled(reason string, err error, format string, args ...any) error {
	return &RunError{Why: reason, Stalled: true, Err: err, Text: fmt.Sprintf(format, args...)}
}

// waiting makes a failure that ends when another object changes.
func waiting(reason, format string, args ...any) error {
	return &reconcile.WaitingError{Message: fmt.Sprintf(format, args...), ReasonText: reason}
}
