// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/ssa/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Waiter is a wait in the background. Its methods are safe for concurrent use.
type Waiter struct {
	m     *Manager
	o     WaitOptions
	done  chan struct{}
	stop  context.CancelFunc
	err   error
	wake  chan struct{} // something changed
	rules map[schema.GroupKind]*Rule

	classes func() map[string]string // binding modes by storage class

	mu      sync.Mutex
	targets []tracked
	index   map[ID]int
	open    int // targets that are not as they should be
	failed  int
	dropped int
	timed   map[int]bool // targets whose status changes as time passes
	news    map[int]bool // targets whose transition was not delivered yet
	order   []int
}

// tracked is the state of one target: no object is kept.
type tracked struct {
	id       ID
	version  string
	uid      string
	since    time.Time
	seen     time.Time // first sight, for StatuslessGrace
	due      time.Time // when to look again without news; zero: never
	status   status.Status
	reason   string
	message  string
	facts    []string
	holds    []string // finalizers of what is to be gone
	pods     string   // selects the pods of a workload that is not as it should be
	events   int32
	changed  bool
	vanishes bool
	here     bool // was seen alive in this wait
	silent   bool // has no status yet
	ok       bool // as it should be
}

func (t *tracked) health() Health {
	return Health{ID: t.id, Status: t.status, Reason: t.reason, Message: t.message, Since: t.since, Events: int(t.events), Facts: t.facts}
}

func (m *Manager) newWaiter(targets []Target, o WaitOptions) *Waiter {
	w := &Waiter{m: m, o: o, done: make(chan struct{}), wake: make(chan struct{}, 1), rules: map[schema.GroupKind]*Rule{}, index: make(map[ID]int, len(targets)), timed: map[int]bool{}, news: map[int]bool{}}
	switch {
	case w.o.Timeout == 0:
		w.o.Timeout = defaultWait
	case w.o.Timeout < 0:
		w.o.Timeout = unlimited
	}
	switch {
	case w.o.StatuslessGrace == 0:
		w.o.StatuslessGrace = defaultStatusless
	case w.o.StatuslessGrace < 0:
		w.o.StatuslessGrace = 0
	}
	for i := range o.Rules {
		gk := schema.GroupKind{Group: o.Rules[i].Group, Kind: o.Rules[i].Kind}
		if _, ok := w.rules[gk]; !ok {
			w.rules[gk] = &o.Rules[i]
		}
	}
	now := time.Now()
	for _, t := range targets {
		if i, ok := w.index[t.ID]; ok {
			w.targets = append(w.targets, w.targets[i])
			w.targets[len(w.targets)-1].ok = true // counted once
			continue
		}
		w.index[t.ID] = len(w.targets)
		w.targets = append(w.targets, tracked{id: t.ID, version: t.Version, uid: t.UID, changed: t.Changed, vanishes: t.vanishes, status: status.Unknown, since: now})
		w.open++
	}
	return w
}

func (w *Waiter) finished() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open == 0
}

// run drives the wait to its end.
func (w *Waiter) run(ctx context.Context) {
	defer close(w.done)
	wctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	w.classes = sync.OnceValue(func() map[string]string { return w.m.bindingModes(wctx) })
	wg.Go(func() { w.watchAll(wctx) })
	if w.o.OnTransition != nil {
		wg.Go(func() { w.deliver(wctx) })
	}
	w.err = w.loop(ctx)
	cancel()
	wg.Wait()
	if w.err != nil && ctx.Err() == nil {
		w.explain(ctx)
	}
	w.flush()
	if w.err != nil {
		w.err = &WaitError{Targets: w.unfinished(), Err: w.err}
	}
}

// loop waits for the end: success, failure, timeout or the context's.
func (w *Waiter) loop(ctx context.Context) error {
	end := time.NewTimer(w.o.Timeout)
	defer end.Stop()
	tick := time.NewTimer(time.Hour)
	defer tick.Stop()
	for {
		next, done, err := w.state()
		if done {
			return err
		}
		tick.Reset(next)
		select {
		case <-w.wake:
		case <-tick.C:
		case <-end.C:
			if _, done, err := w.state(); done {
				return err
			}
			return ErrTimeout
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ErrTimeout
			}
			return ctx.Err()
		}
	}
}

// state decides whether the wait is over; if not, when to look again without
// any news.
func (w *Waiter) state() (next time.Duration, done bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, next := time.Now(), time.Hour
	worst := false
	for i := range w.timed {
		t := &w.targets[i]
		if t.silent && !t.ok {
			if left := t.seen.Add(w.o.StatuslessGrace).Sub(now); left > 0 {
				next = min(next, left)
			} else {
				t.silent = false
				w.set(i, status.Result{Status: status.Current, Reason: "NoStatus", Message: "status was not reported"})
			}
		}
		if t.status == status.Failed {
			if left := t.since.Add(w.o.FailGrace).Sub(now); left > 0 {
				next = min(next, left)
			} else {
				worst = true
			}
		}
		w.time(i)
	}
	switch {
	case worst:
		return 0, true, ErrFailed
	case w.open == 0:
		return 0, true, nil
	case w.o.KeepGoing && !w.o.Gone && w.open == w.failed:
		return 0, true, ErrFailed
	}
	return max(next, time.Millisecond), false, nil
}

// set notes a status. The caller holds mu.
func (w *Waiter) set(i int, r status.Result) {
	t := &w.targets[i]
	if t.status == r.Status && t.reason == r.Reason && t.message == r.Message {
		return
	}
	if t.status != r.Status {
		t.since = time.Now()
	}
	was := t.ok
	if t.status == status.Failed {
		w.failed--
	}
	t.status, t.reason, t.message = r.Status, r.Reason, r.Message
	if t.status == status.Failed {
		w.failed++
	}
	if !w.o.Gone {
		t.ok = t.status == status.Current
	}
	w.count(was, t.ok)
	w.time(i)
	w.notify(i)
}

// time notes whether the target's status changes as time passes: state looks
// at no others. The caller holds mu.
func (w *Waiter) time(i int) {
	t := &w.targets[i]
	if t.silent && !t.ok || t.status == status.Failed && !w.o.KeepGoing && !w.o.Gone {
		w.timed[i] = true
		return
	}
	delete(w.timed, i)
}

func (w *Waiter) count(was, is bool) {
	switch {
	case was && !is:
		w.open++
	case !was && is:
		w.open--
	}
}

// notify wakes the loop and queues the transition. The caller holds mu.
func (w *Waiter) notify(i int) {
	if w.o.OnTransition != nil {
		if w.news[i] {
			w.dropped++
		} else {
			w.news[i] = true
			w.order = append(w.order, i)
		}
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// deliver calls OnTransition until ctx ends; flush does the rest.
func (w *Waiter) deliver(ctx context.Context) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		w.flush()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (w *Waiter) flush() {
	for {
		w.mu.Lock()
		if len(w.order) == 0 || w.o.OnTransition == nil {
			w.mu.Unlock()
			return
		}
		i := w.order[0]
		w.order = w.order[1:]
		delete(w.news, i)
		h := w.targets[i].health()
		w.mu.Unlock()
		w.o.OnTransition(h)
	}
}

func (w *Waiter) unfinished() []Health {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Health
	for i := range w.targets {
		if t := &w.targets[i]; !t.ok && (!errors.Is(w.err, ErrFailed) || t.status == status.Failed) {
			out = append(out, t.health())
		}
	}
	return out
}

// survivors are the targets that are not gone.
func (w *Waiter) survivors() []*TerminatingError {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*TerminatingError
	for i := range w.targets {
		if t := &w.targets[i]; !t.ok {
			out = append(out, &TerminatingError{ID: t.id, Finalizers: t.holds})
		}
	}
	return out
}

// see judges an object that the cluster showed.
func (w *Waiter) see(ctx context.Context, i int, u *unstructured.Unstructured, hasStatus bool) {
	r := w.judge(ctx, u)
	uid := nestedString(u.Object, "metadata", "uid")
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &w.targets[i]
	t.events++
	if w.o.Gone {
		w.seeForGone(i, u, uid, r)
		return
	}
	if nestedMap(u.Object, "spec")["ttlSecondsAfterFinished"] != nil && t.id.Kind == "Job" {
		t.vanishes = true
	}
	t.here, t.uid = true, uid
	if t.seen.IsZero() {
		t.seen = time.Now()
	}
	silent := t.changed && hasStatus && len(nestedMap(u.Object, "status")) == 0 && r.Status == status.Current && w.o.StatuslessGrace > 0 && w.rule(groupKind(t.id)) == nil && !builtinGroup(t.id.Group)
	t.silent = silent && time.Since(t.seen) < w.o.StatuslessGrace
	if t.silent {
		r = status.Result{Status: status.InProgress, Reason: "StatusNotReported", Message: "status was not reported yet"}
	}
	w.set(i, r)
	w.time(i)
	t.due = time.Time{}
	if r.Reason == "PodUnscheduled" {
		t.due = time.Now().Add(pollEvery) // it counts as Failed when it is old enough
	}
	t.pods = ""
	if !t.ok {
		t.pods = podSelector(u)
	}
}

// due returns the targets among those of index that are to be looked at again.
func (w *Waiter) due(index map[objectKey]int) (out []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, i := range index {
		if t := &w.targets[i]; !t.due.IsZero() && now.After(t.due) {
			t.due = time.Time{}
			out = append(out, i)
		}
	}
	return out
}

func (w *Waiter) seeForGone(i int, u *unstructured.Unstructured, uid string, r status.Result) {
	t := &w.targets[i]
	if t.uid != "" && uid != t.uid {
		w.vanished(i)
		return
	}
	t.uid = uid
	t.facts, t.pods, t.holds = contents(u), podSelector(u), u.GetFinalizers()
	if n := len(t.holds); n > 0 {
		t.facts = append(t.facts, "finalizers: "+strconv.Itoa(n)+" "+oneLine(slices.Min(t.holds)))
	}
	w.set(i, r)
}

// vanished notes that a target is gone. The caller holds mu.
func (w *Waiter) vanished(i int) {
	t := &w.targets[i]
	was := t.ok
	t.ok = true
	w.count(was, true)
	w.set(i, status.Result{Status: status.NotFound, Reason: "NotFound", Message: "object is gone"})
	w.notify(i)
}

// miss notes that the cluster does not have the target.
func (w *Waiter) miss(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &w.targets[i]
	t.silent, t.due = false, time.Time{}
	defer w.time(i)
	switch {
	case w.o.Gone:
		w.vanished(i)
	case t.vanishes && t.status == status.Failed:
		return // it does not get better by that
	case t.vanishes:
		w.set(i, status.Result{Status: status.Current, Reason: "JobGone", Message: "job finished and was removed"})
	case t.here:
		w.set(i, status.Result{Status: status.Failed, Reason: "Deleted", Message: "object was deleted"})
	default:
		w.set(i, status.Result{Status: status.NotFound, Reason: "NotFound", Message: "object does not exist"})
	}
}

func (w *Waiter) rule(gk schema.GroupKind) *Rule {
	if r := w.rules[gk]; r != nil {
		return r
	}
	return w.rules[schema.GroupKind{Group: gk.Group}]
}

// judge applies the caller's rule, or the built-in ones.
func (w *Waiter) judge(ctx context.Context, u *unstructured.Unstructured) status.Result {
	rule := w.rule(u.GroupVersionKind().GroupKind())
	if rule == nil || rule.Evaluate == nil || u.GetDeletionTimestamp() != nil {
		o := w.o.Status
		o.Now = time.Now()
		if o.BindingMode == nil {
			o.BindingMode = func(class string) (string, bool) {
				mode, ok := w.classes()[class]
				return mode, ok
			}
		}
		return status.Compute(u.Object, o)
	}
	s, message, err := rule.Evaluate(ctx, cloneMap(u.Object))
	if err != nil {
		return status.Result{Status: status.InProgress, Reason: "RuleFailed", Message: oneLine(err.Error())}
	}
	switch st := status.Status(s); st {
	case status.Current, status.InProgress, status.Failed, status.Terminating, status.NotFound, status.Unknown:
		return status.Result{Status: st, Reason: "Rule", Message: oneLine(message)}
	}
	return status.Result{Status: status.InProgress, Reason: "RuleFailed", Message: oneLine("rule returned " + strconv.Quote(s))}
}
