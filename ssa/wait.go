// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/fail"
	"github.com/gitops-kit/sdk/ssa/status"
)

const (
	defaultWait       = 60 * time.Second
	defaultStatusless = 10 * time.Second
)

// Target is an object to wait for. [Result.Targets] builds them; a target made
// by hand may leave out UID and Changed.
type Target struct {
	ID      ID
	Version string
	UID     string
	Changed bool // created or changed in this run

	vanishes bool // a Job that is deleted some time after it finished
}

// Rule judges the objects of a kind instead of the built-in rules.
type Rule struct {
	Group string
	Kind  string // "": every kind of the group that has no rule of its own
	// Evaluate returns one of the values of status.Status. An error counts as
	// InProgress with the error's text.
	Evaluate func(ctx context.Context, object map[string]any) (status, message string, err error)
}

// WaitOptions say how long and for what a wait goes on.
type WaitOptions struct {
	// Rules judge before the built-in ones: the first for the kind, then the
	// first for the group.
	Rules []Rule
	// Timeout ends the wait. 0: 60 s; negative: only the context does.
	Timeout time.Duration
	// FailGrace is how long an object may be Failed before that ends the wait.
	FailGrace time.Duration
	// StatuslessGrace is how long a changed object of a kind with status may
	// be without one before it counts as Current. 0: 10 s; negative: none.
	StatuslessGrace time.Duration
	// KeepGoing waits on when an object failed, until only Current and Failed
	// ones are left.
	KeepGoing bool
	// Gone waits for the targets to be gone instead. An object of the same
	// name with another UID counts as gone.
	Gone bool
	// OnTransition, when set, is called with every change of a status, in
	// order, from one goroutine. It should not block: while it does, only the
	// latest status of each object is kept for it.
	OnTransition func(Health)
	// Status switches single built-in rules to the established behaviour.
	Status status.Options
}

// Health is the state of one target.
type Health struct {
	ID      ID            `json:"id"`
	Status  status.Status `json:"status"`
	Reason  string        `json:"reason,omitempty"`
	Message string        `json:"message,omitempty"`
	Since   time.Time     `json:"since"`           // of this status
	Events  int           `json:"events"`          // how often the object was seen
	Facts   []string      `json:"facts,omitempty"` // what the cluster says about a failed or surviving object
}

func (h *Health) text() string {
	s := fmt.Sprintf("%s status: '%s'", h.ID.Display(), h.Status)
	if h.Message != "" {
		s += ": " + h.Message
	}
	if len(h.Facts) > 0 {
		s += " (" + strings.Join(h.Facts, "; ") + ")"
	}
	return oneLine(s)
}

// WaitResult is what a wait saw last, one element per target, in order.
type WaitResult struct {
	Targets []Health
	Dropped int // transitions that a slow OnTransition did not get
}

// WaitError says why a wait ended without success: it matches [ErrTimeout],
// [ErrFailed] or [context.Canceled].
type WaitError struct {
	Targets []Health // those that are not as they should be
	Err     error
}

// Error names at most 20 objects.
func (e *WaitError) Error() string {
	parts := make([]string, 0, min(len(e.Targets), maxListed))
	for i := range e.Targets {
		if i == maxListed {
			break
		}
		parts = append(parts, e.Targets[i].text())
	}
	list := "[" + strings.Join(parts, ", ") + "]"
	if n := len(e.Targets) - maxListed; n > 0 {
		list += fmt.Sprintf(" … and %d more", n)
	}
	switch {
	case errors.Is(e.Err, ErrFailed):
		return "failed early due to stalled resources: " + list
	case errors.Is(e.Err, ErrTimeout):
		return "timeout waiting for: " + list
	}
	return fmt.Sprintf("%v: waiting for: %s", e.Err, list)
}

// Unwrap returns the cause.
func (e *WaitError) Unwrap() error { return e.Err }

// Reason returns HealthCheckFailed.
func (e *WaitError) Reason() string { return reasonHealth }

// Terminal reports false: the objects may still get there.
func (e *WaitError) Terminal() bool { return false }

// Wait blocks until every target is Current, or gone with WaitOptions.Gone,
// until one fails, or until the time is over. The result is complete also when
// an error, a [*WaitError], is returned.
func (m *Manager) Wait(ctx context.Context, t []Target, o WaitOptions) (*WaitResult, error) {
	w := m.newWaiter(t, o)
	if w.finished() {
		close(w.done)
		return w.Result(), nil
	}
	fail.Point(fpWaitStart)
	w.run(ctx)
	return w.Result(), w.Err()
}

// StartWait is [Manager.Wait] in the background. It keeps the values of ctx,
// not its cancellation: the options' Timeout or [Waiter.Stop] end it.
func (m *Manager) StartWait(ctx context.Context, t []Target, o WaitOptions) *Waiter {
	w := m.newWaiter(t, o)
	wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.stop = cancel
	if w.finished() {
		cancel()
		close(w.done)
		return w
	}
	fail.Point(fpWaitStart)
	go func() {
		defer cancel()
		w.run(wctx)
	}()
	return w
}

// Done is closed when the wait is over.
func (w *Waiter) Done() <-chan struct{} { return w.done }

// Stop ends the wait; Err is then a [*WaitError] that matches
// [context.Canceled], unless the wait was over before.
func (w *Waiter) Stop() {
	if w.stop != nil {
		w.stop()
	}
}

// Err returns how the wait ended; nil for success and while it goes on.
func (w *Waiter) Err() error {
	select {
	case <-w.done:
		return w.err
	default:
		return nil
	}
}

// Result returns what was seen last. It may be called at any time.
func (w *Waiter) Result() *WaitResult {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &WaitResult{Targets: make([]Health, len(w.targets)), Dropped: w.dropped}
	for i := range w.targets {
		out.Targets[i] = w.targets[i].health()
	}
	return out
}
