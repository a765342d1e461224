// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/runtime/client"
	"github.com/gitops-kit/sdk/runtime/queue"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// perSelector is the number of waiters that one goroutine watches.
const perSelector = 256

// parkedRun is a run that waits without a worker.
type parkedRun struct {
	waiter     Waiter
	step       string
	generation int64
	token      string
	resumeKey  string
	start      time.Time
	scope      *client.Scope
}

// parker keeps the parked runs of one kind.
type parker struct {
	max   int
	wake  func(types.NamespacedName)
	count func(delta int)

	mu        sync.Mutex
	runs      map[types.NamespacedName]*parkedRun
	selectors []*selector
}

func newParker(limit int, wake func(types.NamespacedName), count func(delta int)) *parker {
	return &parker{max: limit, wake: wake, count: count, runs: map[types.NamespacedName]*parkedRun{}}
}

// add parks a run; false when there are too many.
func (p *parker) add(key types.NamespacedName, r *parkedRun) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.runs) >= p.max {
		return false
	}
	p.runs[key] = r
	p.count(1)
	for _, s := range p.selectors {
		if s.add(key, r.waiter.Done()) {
			return true
		}
	}
	s := &selector{wake: p.wake, poke: make(chan struct{}, 1), idle: p.drop}
	s.add(key, r.waiter.Done())
	p.selectors = append(p.selectors, s)
	go s.run()
	return true
}

// get returns the parked run of an object, nil when there is none.
func (p *parker) get(key types.NamespacedName) *parkedRun {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runs[key]
}

// take removes the parked run without stopping its waiter.
func (p *parker) take(key types.NamespacedName) *parkedRun {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.runs[key]
	if r != nil {
		delete(p.runs, key)
		p.count(-1)
	}
	return r
}

// stop ends the parked run of an object, if there is one.
func (p *parker) stop(key types.NamespacedName) {
	if r := p.take(key); r != nil {
		r.waiter.Stop()
		r.scope.Release()
	}
}

// stopAll ends every parked run.
func (p *parker) stopAll() {
	p.mu.Lock()
	runs := p.runs
	p.runs = map[types.NamespacedName]*parkedRun{}
	p.count(-len(runs))
	p.mu.Unlock()
	for _, r := range runs {
		r.waiter.Stop()
		r.scope.Release()
	}
}

func (p *parker) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.runs)
}

func (p *parker) drop(s *selector) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, x := range p.selectors {
		if x == s {
			p.selectors = append(p.selectors[:i], p.selectors[i+1:]...)
			return
		}
	}
}

// selector watches up to perSelector channels in one goroutine, which ends when
// there are none left.
type selector struct {
	wake func(types.NamespacedName)
	poke chan struct{}
	idle func(*selector)

	mu    sync.Mutex
	keys  []types.NamespacedName
	chans []<-chan struct{}
	ended bool
}

func (s *selector) add(key types.NamespacedName, done <-chan struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.chans) >= perSelector {
		return false
	}
	s.keys, s.chans = append(s.keys, key), append(s.chans, done)
	select {
	case s.poke <- struct{}{}:
	default:
	}
	return true
}

func (s *selector) run() {
	for {
		s.mu.Lock()
		if len(s.chans) == 0 {
			s.ended = true
			s.mu.Unlock()
			s.idle(s)
			return
		}
		cases := make([]reflect.SelectCase, 0, len(s.chans)+1)
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(s.poke)})
		for _, c := range s.chans {
			cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(c)})
		}
		s.mu.Unlock()
		i, _, _ := reflect.Select(cases)
		if i == 0 {
			continue
		}
		s.mu.Lock()
		key := s.keys[i-1]
		last := len(s.chans) - 1
		s.keys[i-1], s.chans[i-1] = s.keys[last], s.chans[last]
		s.keys, s.chans = s.keys[:last], s.chans[:last]
		s.mu.Unlock()
		s.wake(key)
	}
}

// park writes a progress status and keeps the waiter. Beyond the limit the run
// waits in its worker.
func (h *harness[T]) park(ctx context.Context, e *ending[T]) ctrl.Result {
	e.st.mu.Lock()
	err := e.st.checkpoint(ctx)
	e.st.mu.Unlock()
	if err != nil {
		e.res.waiter.Stop()
		e.scope.Release()
		logf.FromContext(ctx).Error(err, "status not written")
		return h.requeue(e.key, h.memory.backoff(e.key, e.base.GetGeneration(), tokenOf(e.obj)), queue.Retry)
	}
	h.emit(e.st.events)
	r := &parkedRun{
		waiter: e.res.waiter, step: e.st.parkedAt, generation: e.base.GetGeneration(), token: tokenOf(e.obj),
		start: e.st.start, scope: e.scope,
	}
	if h.o.ResumeKey != nil {
		r.resumeKey = h.o.ResumeKey(e.obj)
	}
	if h.parker.add(e.key, r) {
		return ctrl.Result{}
	}
	select {
	case <-ctx.Done():
		e.res.waiter.Stop()
		e.scope.Release()
		return ctrl.Result{}
	case <-e.res.waiter.Done():
	}
	return h.run(ctx, e.key, e.base, r)
}

// resume decides about the parked run of an object: nil and false start anew,
// true leaves it parked.
func (h *harness[T]) resume(key types.NamespacedName, obj T) (*parkedRun, bool) {
	r := h.parker.get(key)
	if r == nil {
		return nil, false
	}
	fresh := r.generation != obj.GetGeneration() || r.token != tokenOf(obj)
	moved := h.o.ResumeKey != nil && h.o.ResumeKey(obj) != r.resumeKey
	finished := isDone(r.waiter)
	if !finished && !fresh && !(moved && h.o.PreemptOnNewRevision) {
		return nil, true
	}
	if fresh || moved {
		h.parker.stop(key)
		return nil, false
	}
	return h.parker.take(key), false
}

func isDone(w Waiter) bool {
	select {
	case <-w.Done():
		return true
	default:
		return false
	}
}
