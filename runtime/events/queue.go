// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"context"
	"hash/fnv"
	"sync"
)

const (
	capacity = 1000
	shards   = 4
)

// ring is the bounded queue of one sink. Events of one object are in one shard,
// in order.
type ring struct {
	mu     sync.Mutex
	shard  [shards]shard
	wake   [shards]chan struct{}
	n, max int
	seq    uint64
	closed bool
}

// shard holds two lists, so that the oldest event of low importance is found
// without a scan.
type shard struct{ info, warn []*Record }

func newRing(size int) *ring {
	r := &ring{max: size}
	for i := range r.wake {
		r.wake[i] = make(chan struct{}, 1)
	}
	return r
}

// push adds e and returns what had to be dropped for it, nil when nothing.
func (r *ring) push(e *Record) (dropped *Record) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return e
	}
	if r.n >= r.max {
		dropped = r.evict()
	}
	c := *e
	c.seq, r.seq = r.seq, r.seq+1
	i := shardOf(e.Key)
	if c.info() {
		r.shard[i].info = append(r.shard[i].info, &c)
	} else {
		r.shard[i].warn = append(r.shard[i].warn, &c)
	}
	r.n++
	r.mu.Unlock()
	select {
	case r.wake[i] <- struct{}{}:
	default:
	}
	return dropped
}

// evict removes the oldest event that is no warning, else the oldest.
func (r *ring) evict() *Record {
	best, warn := -1, false
	for i := range r.shard {
		if l := r.shard[i].info; len(l) > 0 && (best < 0 || l[0].seq < r.shard[best].info[0].seq) {
			best = i
		}
	}
	if best < 0 {
		warn = true
		for i := range r.shard {
			if l := r.shard[i].warn; len(l) > 0 && (best < 0 || l[0].seq < r.shard[best].warn[0].seq) {
				best = i
			}
		}
	}
	if best < 0 {
		return nil
	}
	r.n--
	if warn {
		return popFront(&r.shard[best].warn)
	}
	return popFront(&r.shard[best].info)
}

// pop waits for the next event of shard i; ok is false when ctx is done, or when
// the ring is closed and the shard empty.
func (r *ring) pop(ctx context.Context, i int) (e *Record, ok bool) {
	for {
		r.mu.Lock()
		s := &r.shard[i]
		switch {
		case len(s.info) > 0 && (len(s.warn) == 0 || s.info[0].seq < s.warn[0].seq):
			e = popFront(&s.info)
		case len(s.warn) > 0:
			e = popFront(&s.warn)
		}
		if e != nil {
			r.n--
		}
		closed := r.closed
		r.mu.Unlock()
		if e != nil {
			return e, true
		}
		if closed {
			return nil, false
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-r.wake[i]:
		}
	}
}

// close refuses further events and lets pop end when nothing is left.
func (r *ring) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for i := range r.wake {
		select {
		case r.wake[i] <- struct{}{}:
		default:
		}
	}
}

func (r *ring) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

func popFront(l *[]*Record) *Record {
	e := (*l)[0]
	(*l)[0] = nil
	*l = (*l)[1:]
	if len(*l) == 0 {
		*l = nil
	}
	return e
}

func shardOf(key string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum32() % shards)
}
