// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Class of work, the most urgent first.
type Class int

// Classes.
const (
	// Urgent: a user or a new revision waits for it.
	Urgent Class = iota
	// Routine: intervals, dependencies, start-up.
	Routine
	// Retry: after a failure.
	Retry
	classes
)

// String returns the name of the class.
func (c Class) String() string {
	switch c {
	case Urgent:
		return "urgent"
	case Routine:
		return "routine"
	default:
		return "retry"
	}
}

// weights are the turns of the classes in one round.
var weights = [classes]int{8, 3, 1} //nolint:gochecknoglobals // never written; Go has no constant arrays

// Request is the key of the queue.
type Request = reconcile.Request

// Options of [New].
type Options struct {
	// Workers is the number of concurrent workers; 0 is 1.
	Workers int
	// Tenant names the tenant of a key; nil is its namespace.
	Tenant func(Request) string
	// OnWait, when set, is called for each key that is taken, without a lock held.
	OnWait func(c Class, waited time.Duration)
	// RateLimiter serves AddRateLimited; nil delays by one second.
	RateLimiter workqueue.TypedRateLimiter[Request]
	// Now is the clock; nil is time.Now. With one of its own, delayed keys become
	// due when [Queue.Tick] is called.
	Now func() time.Time
}

// Queue is the queue. Use [New].
type Queue struct {
	o Options

	mu      sync.Mutex
	cond    *sync.Cond
	items   map[Request]*item
	tenants map[string]*tenant
	turn    []*tenant // with pending keys, in order of their turns
	delayed delays
	timer   *time.Timer
	pending int
	running int
	closed  bool
}

// item is one key that is pending, delayed, or being processed.
type item struct {
	req     Request
	tenant  *tenant
	class   Class
	since   time.Time
	pending bool
	running bool
	dirty   bool // added again while running
	again   Class
	due     time.Time // of the delay
	later   Class
	heap    int // index in delays, -1 without a delay
}

// tenant has its pending keys by class.
type tenant struct {
	name    string
	queues  [classes][]*item
	credits [classes]int
	pending int
	running int
	delayed int
	inTurn  bool
}

var _ priorityqueue.PriorityQueue[Request] = (*Queue)(nil)

// New returns an empty queue.
func New(o Options) *Queue {
	if o.Workers <= 0 {
		o.Workers = 1
	}
	if o.Tenant == nil {
		o.Tenant = func(r Request) string { return r.Namespace }
	}
	q := &Queue{o: o, items: map[Request]*item{}, tenants: map[string]*tenant{}}
	q.cond = sync.NewCond(&q.mu)
	return q
}

func (q *Queue) now() time.Time {
	if q.o.Now != nil {
		return q.o.Now()
	}
	return time.Now()
}

// AddClass adds a key now. A pending key moves up to c; a running one is added
// again when it is done; a delayed one becomes due.
func (q *Queue) AddClass(r Request, c Class) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(r, clamp(c))
}

// AddClassAfter adds a key after d. Of several delays of a key the shortest
// counts; taking the key forgets them.
func (q *Queue) AddClassAfter(r Request, c Class, d time.Duration) {
	if d <= 0 {
		q.AddClass(r, c)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	it, due := q.item(r), q.now().Add(d)
	if it.pending && it.class <= clamp(c) {
		return
	}
	if it.heap >= 0 && !due.Before(it.due) {
		return
	}
	it.due, it.later = due, clamp(c)
	q.delayed.put(it)
	q.arm()
}

// Add adds a key as urgent.
func (q *Queue) Add(r Request) { q.AddClass(r, Urgent) }

// AddAfter adds a key after d as routine.
func (q *Queue) AddAfter(r Request, d time.Duration) { q.AddClassAfter(r, Routine, d) }

// AddRateLimited adds a key as retry, after the rate limiter's delay.
func (q *Queue) AddRateLimited(r Request) {
	d := time.Second
	if q.o.RateLimiter != nil {
		d = q.o.RateLimiter.When(r)
	}
	q.AddClassAfter(r, Retry, d)
}

// AddWithOpts adds keys; a negative priority is routine.
func (q *Queue) AddWithOpts(o priorityqueue.AddOpts, list ...Request) {
	c := Urgent
	if o.Priority != nil && *o.Priority < 0 {
		c = Routine
	}
	for _, r := range list {
		if o.RateLimited {
			q.AddRateLimited(r)
			continue
		}
		q.AddClassAfter(r, c, o.After)
	}
}

// Forget resets the rate limiter for a key.
func (q *Queue) Forget(r Request) {
	if q.o.RateLimiter != nil {
		q.o.RateLimiter.Forget(r)
	}
}

// NumRequeues returns how often a key was rate limited.
func (q *Queue) NumRequeues(r Request) int {
	if q.o.RateLimiter != nil {
		return q.o.RateLimiter.NumRequeues(r)
	}
	return 0
}

// Get waits for a key. After it is processed the caller calls [Queue.Done].
func (q *Queue) Get() (r Request, shutdown bool) {
	r, _, shutdown = q.GetWithPriority()
	return r, shutdown
}

// GetWithPriority is Get; the priority is 0 for urgent keys, else negative.
func (q *Queue) GetWithPriority() (r Request, priority int, shutdown bool) {
	q.mu.Lock()
	for {
		if it := q.pick(); it != nil {
			c, waited := it.class, q.now().Sub(it.since)
			q.mu.Unlock()
			if q.o.OnWait != nil {
				q.o.OnWait(c, waited)
			}
			return it.req, -int(c), false
		}
		if q.closed {
			q.mu.Unlock()
			return Request{}, 0, true
		}
		q.cond.Wait()
	}
}

// TryGet is Get without waiting; ok is false when nothing may be taken now.
func (q *Queue) TryGet() (r Request, c Class, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.pick()
	if it == nil {
		return Request{}, 0, false
	}
	return it.req, it.class, true
}

// Done ends the processing of a key.
func (q *Queue) Done(r Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[r]
	if it == nil || !it.running {
		return
	}
	it.running = false
	it.tenant.running--
	q.running--
	if it.dirty {
		it.dirty = false
		q.enqueue(it, it.again)
	}
	q.drop(it)
	q.cond.Broadcast() // a tenant may have a share again, and a drain may be over
}

// Len returns the number of pending keys.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending
}

// ShutDown refuses further keys; Get returns what is pending, then shutdown.
func (q *Queue) ShutDown() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.timer != nil {
		q.timer.Stop()
	}
	for q.delayed.Len() > 0 {
		q.drop(q.delayed.pop())
	}
	q.cond.Broadcast()
}

// ShutDownWithDrain is ShutDown, and waits until no key is being processed.
func (q *Queue) ShutDownWithDrain() {
	q.ShutDown()
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.running > 0 {
		q.cond.Wait()
	}
}

// ShuttingDown reports whether ShutDown was called.
func (q *Queue) ShuttingDown() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// Tick makes the keys whose delay is over pending.
func (q *Queue) Tick() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tick()
}

func (q *Queue) tick() {
	now := q.now()
	for q.delayed.Len() > 0 && !q.delayed.first().due.After(now) {
		it := q.delayed.pop()
		q.add(it.req, it.later)
	}
	q.arm()
}

// arm sets the timer to the first delay; the lock is held.
func (q *Queue) arm() {
	if q.delayed.Len() == 0 || q.closed || q.o.Now != nil {
		return
	}
	d := max(q.delayed.first().due.Sub(q.now()), 0)
	if q.timer == nil {
		q.timer = time.AfterFunc(d, q.Tick)
		return
	}
	q.timer.Reset(d)
}

func clamp(c Class) Class { return min(max(c, Urgent), Retry) }
