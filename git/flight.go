// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"time"
)

// flight is a call that several callers share. It ends when the last of them
// has left.
type flight[T any] struct {
	done    chan struct{}
	cancel  context.CancelCauseFunc
	waiters int
	value   T
	err     error
	at      time.Time
}

// join waits for the call with the given key, and starts it when there is
// none. m's mutex guards the table.
func join[K comparable, T any](ctx context.Context, m *Mirror, table map[K]*flight[T], key K, keep time.Duration, call func(context.Context) (T, error)) (T, error) {
	m.mu.Lock()
	f := table[key]
	if f != nil && !f.at.IsZero() && time.Since(f.at) > keep {
		f = nil
	}
	if f == nil {
		run, cancel := context.WithCancelCause(detached(ctx))
		f = &flight[T]{done: make(chan struct{}), cancel: cancel}
		table[key] = f
		go func() {
			v, err := call(run)
			m.mu.Lock()
			f.value, f.err, f.at = v, err, time.Now()
			if err != nil {
				keep = 0
			}
			if keep > 0 {
				time.AfterFunc(keep, func() { leave(m, table, key, f) })
			} else if table[key] == f {
				delete(table, key)
			}
			m.mu.Unlock()
			close(f.done)
			cancel(nil)
		}()
	}
	f.waiters++
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		if f.waiters--; f.waiters == 0 {
			f.cancel(context.Canceled)
			if table[key] == f && f.at.IsZero() {
				delete(table, key)
			}
		}
		m.mu.Unlock()
	}()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}

// leave takes a call out of the table when nobody may share it any more.
func leave[K comparable, T any](m *Mirror, table map[K]*flight[T], key K, f *flight[T]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if table[key] == f {
		delete(table, key)
	}
}
