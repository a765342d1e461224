// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"errors"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	watchQueue  = 64        // events that a watch may be behind the server
	replayCount = 32        // latest events that are kept for who joins
	replayBytes = 256 << 10 // their size
)

// watchKey is what a watch watches.
type watchKey struct {
	gvr                       schema.GroupVersionResource
	namespace, labels, fields string
}

// watchShare is the running watches of a cluster.
type watchShare struct {
	mu      sync.Mutex
	running map[watchKey]*stream
}

// stream is one request and those who read what it brings.
type stream struct {
	share  *watchShare
	key    watchKey
	cancel context.CancelFunc
	ready  chan struct{} // closed when the server answered
	err    error         // what it answered; written before ready is closed

	mu    sync.Mutex
	room  sync.Cond // a queue is not full any more, or readers came or went
	subs  map[*subscriber]struct{}
	over  bool   // nobody can join
	since string // every event after this resourceVersion is in replay
	replay
}

// replay is the latest events.
type replay struct {
	events []streamEvent
	bytes  int
}

// streamEvent is an event; rv is "" when it has no version of its own.
type streamEvent struct {
	watch.Event
	rv   string
	size int
}

// after reports whether the event came after a resourceVersion. An event
// without a version of its own is always news.
func (e *streamEvent) after(rv string) bool {
	c, err := resourceversion.CompareResourceVersion(e.rv, rv)
	return err != nil || c > 0
}

// watch joins the running watch of key if what came after rv can still be
// had from it, and opens one otherwise.
func (s *watchShare) watch(ctx context.Context, key watchKey, rv string, open func(context.Context) (*watchBody, error)) (watch.Interface, error) {
	if _, err := resourceversion.CompareResourceVersion(rv, rv); err != nil {
		// "" and versions that say nothing of the order: there is no place to join at.
		return newStream(nil, key, rv).start(ctx, open)
	}
	for {
		s.mu.Lock()
		st := s.running[key]
		if st == nil {
			st = newStream(s, key, rv)
			s.running[key] = st
			s.mu.Unlock()
			return st.start(ctx, open)
		}
		s.mu.Unlock()
		select {
		case <-st.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch sub, state := st.join(ctx, rv); {
		case state == joined:
			return sub, nil
		case state == tooLate:
			return newStream(nil, key, rv).start(ctx, open)
		case st.err != nil && !ownFault(st.err):
			return nil, st.err
		}
	}
}

// ownFault reports whether a watch failed for a reason that others do not
// share: whoever opened it gave up, or its resourceVersion is too old.
func ownFault(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
}

func newStream(share *watchShare, key watchKey, rv string) *stream {
	st := &stream{share: share, key: key, ready: make(chan struct{}), subs: map[*subscriber]struct{}{}, since: rv}
	st.room.L = &st.mu
	return st
}

// start opens the watch; ctx bounds that, and the first reader.
func (st *stream) start(ctx context.Context, open func(context.Context) (*watchBody, error)) (watch.Interface, error) {
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	st.cancel = cancel
	abort := context.AfterFunc(ctx, cancel)
	body, err := open(sctx)
	if !abort() && err == nil { // ctx ended meanwhile
		body.close()
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		st.err = err
		st.end()
		close(st.ready)
		return nil, err
	}
	st.mu.Lock()
	sub := st.add(ctx, st.since)
	st.mu.Unlock()
	close(st.ready)
	go st.run(body)
	return sub, nil
}

// run hands events out until the watch ends.
func (st *stream) run(body *watchBody) {
	defer st.end()
	defer body.close()
	for {
		ev, size, err := body.next()
		if err != nil {
			return
		}
		e := streamEvent{Event: ev, size: size}
		if u, ok := ev.Object.(*unstructured.Unstructured); ok {
			e.rv = u.GetResourceVersion()
		}
		st.publish(e)
	}
}

// publish queues an event for every reader. A sole reader holds the stream
// back when it is slow; of several, one that is slow is cut off and resumes
// from what it saw last.
func (st *stream) publish(e streamEvent) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for len(st.subs) == 1 && st.full() {
		st.room.Wait()
	}
	if e.rv != "" && e.Type != watch.Bookmark {
		st.remember(e)
	}
	for sub := range st.subs {
		switch {
		case !e.after(sub.from):
		case len(sub.queue) >= watchQueue:
			st.cut(sub)
		default:
			sub.queue = append(sub.queue, e.Event)
			sub.poke()
		}
	}
}

func (st *stream) full() bool {
	for sub := range st.subs {
		if len(sub.queue) >= watchQueue {
			return true
		}
	}
	return false
}

// remember keeps the event for who joins. The caller holds mu.
func (st *stream) remember(e streamEvent) {
	st.events = append(st.events, e)
	st.bytes += e.size
	drop := 0
	for ; drop < len(st.events) && (len(st.events)-drop > replayCount || st.bytes > replayBytes); drop++ {
		st.since = st.events[drop].rv
		st.bytes -= st.events[drop].size
	}
	if drop > 0 {
		st.events = append(st.events[:0:0], st.events[drop:]...)
	}
}

type joinState int

const (
	joined  joinState = iota
	ended             // the watch is over: open another one
	tooLate           // the watch is past what is asked for
)

// join adds a reader of what comes after rv.
func (st *stream) join(ctx context.Context, rv string) (*subscriber, joinState) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over {
		return nil, ended
	}
	if c, err := resourceversion.CompareResourceVersion(rv, st.since); err != nil || c < 0 {
		return nil, tooLate
	}
	return st.add(ctx, rv), joined
}

// add adds a reader. The caller holds mu.
func (st *stream) add(ctx context.Context, rv string) *subscriber {
	sub := &subscriber{st: st, from: rv, events: make(chan watch.Event), wake: make(chan struct{}, 1), done: make(chan struct{})}
	for i := range st.events {
		if st.events[i].after(rv) {
			sub.queue = append(sub.queue, st.events[i].Event)
		}
	}
	st.subs[sub] = struct{}{}
	st.room.Broadcast()
	sub.release = context.AfterFunc(ctx, sub.Stop)
	go sub.run()
	return sub
}

// end tells every reader that nothing more comes.
func (st *stream) end() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.retire()
	for sub := range st.subs {
		st.cut(sub)
	}
}

// cut ends a reader after what is queued for it. The caller holds mu.
func (st *stream) cut(sub *subscriber) {
	delete(st.subs, sub)
	sub.ended = true
	sub.poke()
}

// retire lets nobody join any more. The caller holds mu.
func (st *stream) retire() {
	if st.over {
		return
	}
	st.over = true
	st.cancel()
	if st.share == nil {
		return
	}
	st.share.mu.Lock()
	defer st.share.mu.Unlock()
	if st.share.running[st.key] == st {
		delete(st.share.running, st.key)
	}
}

// subscriber is one reader of a stream; it implements [watch.Interface].
type subscriber struct {
	st      *stream
	from    string // only what came after this resourceVersion is news
	events  chan watch.Event
	wake    chan struct{}
	done    chan struct{}
	once    sync.Once
	release func() bool

	queue []watch.Event // st.mu guards these
	ended bool
}

// ResultChan implements [watch.Interface].
func (s *subscriber) ResultChan() <-chan watch.Event { return s.events }

// Stop implements [watch.Interface]. The last reader ends the request.
func (s *subscriber) Stop() {
	s.once.Do(func() {
		close(s.done)
		s.st.mu.Lock()
		defer s.st.mu.Unlock()
		delete(s.st.subs, s)
		if len(s.st.subs) == 0 {
			s.st.retire()
		}
		s.st.room.Broadcast()
	})
}

// poke tells run that there is news.
func (s *subscriber) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscriber) run() {
	defer close(s.events)
	defer func() { s.release() }()
	for {
		ev, ok, ended := s.next()
		switch {
		case ok:
			select {
			case s.events <- ev:
			case <-s.done:
				return
			}
		case ended:
			return
		default:
			select {
			case <-s.wake:
			case <-s.done:
				return
			}
		}
	}
}

// next takes the oldest event off the queue.
func (s *subscriber) next() (ev watch.Event, ok, ended bool) {
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	if len(s.queue) == 0 {
		return ev, false, s.ended
	}
	ev = s.queue[0]
	s.queue[0] = watch.Event{}
	s.queue = s.queue[1:]
	s.st.room.Broadcast()
	return ev, true, false
}
