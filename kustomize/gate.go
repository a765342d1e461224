// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// gate is a FIFO lock of the process: builds share it, one build with its own
// schema has it alone. Waiting honours the context.
type gate struct {
	mu      sync.Mutex
	shared  int
	alone   bool
	waiting list.List // of *ticket
}

type ticket struct {
	alone bool
	ready chan struct{}
}

// enter waits at most wait (0: only as long as ctx) and reports whether it got
// in. A waiter that wants to be alone holds back everyone behind it.
func (g *gate) enter(ctx context.Context, alone bool, wait time.Duration) error {
	g.mu.Lock()
	if g.waiting.Len() == 0 && g.free(alone) {
		g.take(alone)
		g.mu.Unlock()
		return nil
	}
	t := &ticket{alone: alone, ready: make(chan struct{})}
	el := g.waiting.PushBack(t)
	g.mu.Unlock()

	var late <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		late = timer.C
	}
	var err error
	select {
	case <-t.ready:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-late:
		err = &busyError{lane: alone}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-t.ready: // got in meanwhile: give it back
		g.give(alone)
	default:
		g.waiting.Remove(el)
	}
	g.next()
	return err
}

func (g *gate) leave(alone bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.give(alone)
	g.next()
}

func (g *gate) free(alone bool) bool { return !g.alone && (!alone || g.shared == 0) }

func (g *gate) take(alone bool) {
	if alone {
		g.alone = true
		return
	}
	g.shared++
}

func (g *gate) give(alone bool) {
	if alone {
		g.alone = false
		return
	}
	g.shared--
}

func (g *gate) next() {
	for el := g.waiting.Front(); el != nil; el = g.waiting.Front() {
		t := el.Value.(*ticket)
		if !g.free(t.alone) {
			return
		}
		g.take(t.alone)
		g.waiting.Remove(el)
		close(t.ready)
	}
}
