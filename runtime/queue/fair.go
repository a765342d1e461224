// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

// item returns the entry of a key, made if need be; the lock is held.
func (q *Queue) item(r Request) *item {
	it := q.items[r]
	if it == nil {
		name := q.o.Tenant(r)
		t := q.tenants[name]
		if t == nil {
			t = &tenant{name: name, credits: weights}
			q.tenants[name] = t
		}
		it = &item{req: r, tenant: t, heap: -1}
		q.items[r] = it
	}
	return it
}

func (q *Queue) add(r Request, c Class) {
	if q.closed {
		return
	}
	it := q.item(r)
	if it.heap >= 0 {
		q.delayed.remove(it)
	}
	switch {
	case it.running:
		if !it.dirty || c < it.again {
			it.again = c
		}
		it.dirty = true
	case !it.pending:
		q.enqueue(it, c)
		q.cond.Signal()
	case c < it.class:
		it.tenant.remove(it)
		it.class = c
		it.tenant.queues[c] = append(it.tenant.queues[c], it)
	}
}

// enqueue makes an item pending.
func (q *Queue) enqueue(it *item, c Class) {
	it.pending, it.class, it.since = true, c, q.now()
	t := it.tenant
	t.queues[c] = append(t.queues[c], it)
	t.pending++
	q.pending++
	if !t.inTurn {
		t.inTurn = true
		q.turn = append(q.turn, t)
	}
}

// pick takes the next key that may run, nil when there is none.
func (q *Queue) pick() *item {
	for n := len(q.turn); n > 0; n-- {
		t := q.turn[0]
		q.turn = append(q.turn[1:], t)
		if len(q.turn) > 1 && t.running >= q.share() {
			continue
		}
		it := t.next()
		t.pending--
		q.pending--
		if t.pending == 0 {
			t.inTurn = false
			q.turn = q.turn[:len(q.turn)-1]
		}
		it.pending, it.running = false, true
		t.running++
		q.running++
		if it.heap >= 0 {
			q.delayed.remove(it)
		}
		return it
	}
	return nil
}

// share is how many workers a tenant may have while another one waits.
func (q *Queue) share() int { return max(1, (q.o.Workers+1)/2) }

// drop forgets an item that is in no state, and a tenant without items.
func (q *Queue) drop(it *item) {
	if it.pending || it.running || it.heap >= 0 || q.items[it.req] != it {
		return
	}
	delete(q.items, it.req)
	t := it.tenant
	if t.pending == 0 && t.running == 0 && t.delayed == 0 {
		delete(q.tenants, t.name)
	}
}

// next takes the next item by class weights.
func (t *tenant) next() *item {
	for range 2 {
		for c := range t.queues {
			if len(t.queues[c]) > 0 && t.credits[c] > 0 {
				t.credits[c]--
				it := t.queues[c][0]
				t.queues[c][0] = nil
				t.queues[c] = t.queues[c][1:]
				if len(t.queues[c]) == 0 {
					t.queues[c] = nil
				}
				return it
			}
		}
		t.credits = weights
	}
	return nil
}

// remove takes a pending item out of its class.
func (t *tenant) remove(it *item) {
	list := t.queues[it.class]
	for i, x := range list {
		if x == it {
			t.queues[it.class] = append(list[:i:i], list[i+1:]...)
			return
		}
	}
}
