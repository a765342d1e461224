// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

const checkTime = time.Second

// ErrStuck is the failure of a [Watchdog].
var ErrStuck = errors.New("a worker does not make progress")

// Check returns nil when all is well.
type Check func(ctx context.Context) error

// Set is an endpoint. The zero value has no checks and always succeeds.
type Set struct {
	mu     sync.RWMutex
	checks map[string]Check
}

// Add registers a check; one of the same name is replaced.
func (s *Set) Add(name string, c Check) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checks == nil {
		s.checks = map[string]Check{}
	}
	s.checks[name] = c
}

// Run runs all checks and returns the failures, joined, in order of the names.
func (s *Set) Run(ctx context.Context) error {
	s.mu.RLock()
	names := make([]string, 0, len(s.checks))
	for n := range s.checks {
		names = append(names, n)
	}
	checks := make([]Check, 0, len(names))
	slices.Sort(names)
	for _, n := range names {
		checks = append(checks, s.checks[n])
	}
	s.mu.RUnlock()
	var errs []error
	for i, c := range checks {
		cctx, cancel := context.WithTimeout(ctx, checkTime)
		if err := c(cctx); err != nil {
			errs = append(errs, fmt.Errorf("check %s: %w", names[i], err))
		}
		cancel()
	}
	return errors.Join(errs...)
}

// ServeHTTP answers 200 "ok", or 503 without details of the failure but with
// the names of the failing checks.
func (s *Set) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := s.Run(r.Context()); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, err)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// Watchdog notices work that takes far longer than it may. The zero value
// watches nothing.
type Watchdog struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	mu    sync.Mutex
	seq   uint64
	until map[uint64]time.Time
}

// Start tells that work begins that may take at most limit. The work is stuck
// after ten times that. Call the returned function when it has ended.
func (d *Watchdog) Start(limit time.Duration) (end func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until == nil {
		d.until = map[uint64]time.Time{}
	}
	d.seq++
	id := d.seq
	d.until[id] = d.now().Add(10 * limit)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.until, id)
	}
}

// Check returns [ErrStuck] while work is stuck.
func (d *Watchdog) Check(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for _, t := range d.until {
		if now.After(t) {
			return ErrStuck
		}
	}
	return nil
}

func (d *Watchdog) now() time.Time {
	if d.Now != nil {
		return d.Now()
	}
	return time.Now()
}
