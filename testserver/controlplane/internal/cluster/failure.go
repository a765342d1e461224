// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gitops-kit/sdk/testserver/controlplane/internal/component"
)

// failure is the first error with which a component ended by itself.
type failure struct {
	once sync.Once
	done chan struct{}
	err  error // valid when done is closed
}

func newFailure() *failure { return &failure{done: make(chan struct{})} }

func (f *failure) set(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.done)
	})
}

// get returns nil as long as nothing failed.
func (f *failure) get() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

// bind returns a context that ends with ctx and when a component fails.
func (f *failure) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	bound, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-f.done:
			cancel()
		case <-bound.Done():
		}
	}()
	return bound, cancel
}

// partError is the error of a component.
type partError struct {
	Name string
	Err  error
}

func (e *partError) Error() string { return e.Name + ": " + e.Err.Error() }
func (e *partError) Unwrap() error { return e.Err }

// notReadyError says what was waited for in vain.
type notReadyError struct {
	What  string
	Limit time.Duration
	Last  error // of the last attempt; may be nil
}

func (e *notReadyError) Error() string {
	text := fmt.Sprintf("%s is not ready after %s", e.What, e.Limit)
	if e.Last != nil {
		text += ": " + e.Last.Error()
	}
	return text
}

func (e *notReadyError) Unwrap() error { return e.Last }

// childError is the error of a component that runs in a child process.
type childError struct{ report report }

func (e *childError) Error() string { return e.report.Message }

// Reasons in a report.
const (
	reasonFailed   = "Failed"
	reasonNotReady = "NotReady"
	reasonDiskFull = "DiskFull"
)

// report is what follows failedWord in a line of standard output, as JSON.
type report struct {
	Reason    string `json:"reason"`
	Component string `json:"component,omitempty"`
	Message   string `json:"message"`
}

// failedWord begins the line that tells another program why this one ends.
const failedWord = "FAILED"

func newReport(err error) report {
	r := report{Reason: reasonFailed, Message: oneLine(err.Error())}
	var part *partError
	if errors.As(err, &part) {
		r.Component = part.Name
	}
	var child *childError
	var notReady *notReadyError
	switch {
	case errors.As(err, &child):
		r.Reason = child.report.Reason
	case diskFull(err):
		r.Reason = reasonDiskFull
	case errors.As(err, &notReady):
		r.Reason = reasonNotReady
	}
	return r
}

// write prints the line. Whoever would read it may be gone.
func (r report) write(w io.Writer) {
	if b, err := json.Marshal(r); err == nil {
		_, _ = fmt.Fprintf(w, "%s %s\n", failedWord, b)
	}
}

// diskFull says whether err is about room: of the disk, of the user's share,
// or by the limit of the process on the size of files.
func diskFull(err error) bool {
	for _, no := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

func oneLine(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
}

// explain adds the last fatal message of the log to the error of a component
// that left its reason there.
func explain(err error, log string) error {
	if !errors.Is(err, component.ErrExit) {
		return err
	}
	last := ""
	for line := range strings.SplitSeq(log, "\n") {
		if _, message, ok := strings.Cut(line, "] "); ok && strings.HasPrefix(line, "F") {
			last = message
		}
	}
	if last == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, last)
}
