// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"sync"
	"time"
)

const (
	defaultConcurrency = 16
	firstConcurrency   = 4
	slowRequest        = 10 * time.Second
)

// limiter bounds the requests in flight of one Cluster. It grows by one after
// as many successes as its limit, halves when the server suffers, and stops
// everybody while the server asked for a pause.
type limiter struct {
	mu        sync.Mutex
	limit     int
	ceiling   int
	inFlight  int
	successes int
	until     time.Time // no request starts before
	waiting   []chan struct{}
}

func newLimiter(ceiling int) *limiter {
	if ceiling <= 0 {
		ceiling = defaultConcurrency
	}
	return &limiter{limit: min(firstConcurrency, ceiling), ceiling: ceiling}
}

// raise lifts the ceiling to what the most demanding user asks for.
func (l *limiter) raise(ceiling int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ceiling = max(l.ceiling, ceiling)
}

// acquire waits for a slot.
func (l *limiter) acquire(ctx context.Context) (err error) {
	called := false
	defer func() {
		if called && err != nil { // the turn was for somebody who is here
			l.mu.Lock()
			defer l.mu.Unlock()
			l.wake()
		}
	}()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.mu.Lock()
		pause := time.Until(l.until)
		if pause <= 0 && l.inFlight < l.limit {
			l.inFlight++
			l.mu.Unlock()
			return nil
		}
		if pause > 0 {
			l.mu.Unlock()
			if err := sleep(ctx, pause); err != nil {
				return err
			}
			continue
		}
		turn := make(chan struct{})
		called = false
		l.waiting = append(l.waiting, turn)
		l.mu.Unlock()
		select {
		case <-turn:
			called = true
		case <-ctx.Done():
			l.leave(turn)
			return ctx.Err()
		}
	}
}

// leave gives up a place in the queue, or hands on a turn that came too late.
func (l *limiter) leave(turn chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range l.waiting {
		if w == turn {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			return
		}
	}
	l.wake()
}

// wake lets the first in the queue look again. The caller holds mu.
func (l *limiter) wake() {
	if len(l.waiting) > 0 {
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
	}
}

// release gives a slot back; suffered says that the server was overloaded.
func (l *limiter) release(took time.Duration, suffered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	if suffered || took > slowRequest {
		l.limit = max(1, l.limit/2)
		l.successes = 0
	} else if l.successes++; l.successes >= l.limit && l.limit < l.ceiling {
		l.limit++
		l.successes = 0
		l.wake()
	}
	l.wake()
}

// pause keeps every request of the cluster from starting for d.
func (l *limiter) pause(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(d); until.After(l.until) {
		l.until = until
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
