// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/runtime/queue"
	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func key(s string) queue.Request {
	ns, name, _ := strings.Cut(s, "/")
	return queue.Request{NamespacedName: types.NamespacedName{Namespace: ns, Name: name}}
}

// clock is set by the test.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func newQueue(workers int) (*queue.Queue, *clock) {
	c := &clock{t: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	return queue.New(queue.Options{Workers: workers, Now: c.now}), c
}

// drain takes and finishes everything that may be taken.
func drain(q *queue.Queue) (out []string) {
	for {
		r, _, ok := q.TryGet()
		if !ok {
			return out
		}
		out = append(out, r.String())
		q.Done(r)
	}
}

// RT-50: keys deduplicate; tenants take turns, one key per turn.
func TestRoundRobin(t *testing.T) {
	g := NewWithT(t)
	q, _ := newQueue(1)
	for i := range 3 {
		q.Add(key(fmt.Sprintf("a/%d", i)))
		q.Add(key("a/0"))
	}
	q.Add(key("b/0"))
	q.Add(key("b/1"))
	q.Add(key("c/0"))
	g.Expect(q.Len()).To(Equal(6))
	g.Expect(drain(q)).To(Equal([]string{"a/0", "b/0", "c/0", "a/1", "b/1", "a/2"}))
}

// RT-51: 8 : 3 : 1 inside a tenant, first in first out in a class; a higher
// trigger moves a key up.
func TestClasses(t *testing.T) {
	g := NewWithT(t)
	q, _ := newQueue(1)
	for i := range 40 {
		q.AddClass(key(fmt.Sprintf("a/r%02d", i)), queue.Retry)
		q.AddClass(key(fmt.Sprintf("a/b%02d", i)), queue.Routine)
		q.AddClass(key(fmt.Sprintf("a/u%02d", i)), queue.Urgent)
	}
	got := drain(q)
	count := map[byte]int{}
	for _, k := range got[:24] {
		count[k[2]]++
	}
	g.Expect(count).To(Equal(map[byte]int{'u': 16, 'b': 6, 'r': 2}))
	for _, class := range "ubr" {
		of := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s[2] != byte(class) })
		g.Expect(slices.IsSorted(of)).To(BeTrue(), "first in first out")
		g.Expect(of).To(HaveLen(40), "none starves")
	}
	q.AddClass(key("a/x"), queue.Retry)
	q.AddClass(key("a/y"), queue.Urgent)
	q.AddClass(key("a/x"), queue.Urgent)
	q.AddClass(key("a/y"), queue.Retry)
	g.Expect(drain(q)).To(Equal([]string{"a/y", "a/x"}), "up, never down")
}

// RT-52: a tenant has half of the workers while another one waits.
func TestShare(t *testing.T) {
	g := NewWithT(t)
	q, _ := newQueue(4)
	for i := range 10 {
		q.Add(key(fmt.Sprintf("a/%d", i)))
	}
	var taken []queue.Request
	for range 4 {
		r, _, ok := q.TryGet()
		g.Expect(ok).To(BeTrue(), "alone it has all workers")
		taken = append(taken, r)
	}
	q.Add(key("b/0"))
	r, _, ok := q.TryGet()
	g.Expect(ok).To(BeTrue())
	g.Expect(r).To(Equal(key("b/0")))
	_, _, ok = q.TryGet()
	g.Expect(ok).To(BeTrue(), "nobody else waits again")
	q.Add(key("b/1"))
	q.Add(key("b/2"))
	for range 2 {
		r, _, ok = q.TryGet()
		if ok {
			g.Expect(r.Namespace).To(Equal("b"))
		}
	}
	q.Done(taken[0])
}

// RT-50: a key is processed by one worker at a time; added meanwhile it runs
// again.
func TestOneAtATime(t *testing.T) {
	g := NewWithT(t)
	q, _ := newQueue(2)
	q.Add(key("a/0"))
	r, _, _ := q.TryGet()
	q.Add(r)
	_, _, ok := q.TryGet()
	g.Expect(ok).To(BeFalse())
	q.Done(r)
	again, _, ok := q.TryGet()
	g.Expect(ok).To(BeTrue())
	g.Expect(again).To(Equal(r))
	q.Done(r)
	g.Expect(drain(q)).To(BeEmpty())
}

// RT-38: delays; the shortest counts, a run forgets them.
func TestDelays(t *testing.T) {
	g := NewWithT(t)
	q, c := newQueue(1)
	q.AddClassAfter(key("a/0"), queue.Routine, time.Minute)
	q.AddClassAfter(key("a/0"), queue.Routine, time.Hour)
	q.AddClassAfter(key("a/1"), queue.Retry, 2*time.Minute)
	q.Tick()
	g.Expect(drain(q)).To(BeEmpty())
	c.advance(time.Minute)
	q.Tick()
	g.Expect(drain(q)).To(Equal([]string{"a/0"}))
	q.Add(key("a/1"))
	g.Expect(drain(q)).To(Equal([]string{"a/1"}))
	c.advance(24 * time.Hour)
	q.Tick()
	g.Expect(drain(q)).To(BeEmpty(), "taking a key forgets its delay")
	q.AddClassAfter(key("a/2"), queue.Routine, time.Minute)
	q.ShutDown()
	c.advance(time.Hour)
	q.Tick()
	_, shutdown := q.Get()
	g.Expect(shutdown).To(BeTrue())
	g.Expect(q.ShuttingDown()).To(BeTrue())
}

// RT-50, D14: a tenant flooding 1,000 keys delays another's single key by one
// turn at most.
func TestFloodDelaysByOneTurn(t *testing.T) {
	g := NewWithT(t)
	q, _ := newQueue(1)
	for i := range 1000 {
		q.AddClass(key(fmt.Sprintf("flood/%d", i)), queue.Urgent)
	}
	q.AddClass(key("quiet/0"), queue.Retry)
	q.TryGet()
	r, _, ok := q.TryGet()
	g.Expect(ok).To(BeTrue())
	g.Expect(r).To(Equal(key("quiet/0")))
}

// RT-51: no key of any class starves in an hour of load that never ends.
func TestStarvationFree(t *testing.T) {
	g := NewWithT(t)
	q, c := newQueue(1)
	waiting := map[queue.Request]time.Time{}
	longest := time.Duration(0)
	r := rand.New(rand.NewPCG(1, 1))
	for step := range 3600 {
		for range 2 { // twice what can be served
			k := key(fmt.Sprintf("%c/%d", 'a'+rune(r.IntN(4)), r.IntN(50)))
			q.AddClass(k, queue.Class(r.IntN(3)))
			if _, ok := waiting[k]; !ok {
				waiting[k] = c.now()
			}
		}
		k, _, ok := q.TryGet()
		g.Expect(ok).To(BeTrue())
		longest = max(longest, c.now().Sub(waiting[k]))
		delete(waiting, k)
		q.Done(k)
		c.advance(time.Second)
		_ = step
	}
	g.Expect(longest).To(BeNumerically("<", 40*time.Minute))
	for k, since := range waiting {
		g.Expect(c.now().Sub(since)).To(BeNumerically("<", 40*time.Minute), k.String())
	}
}

// RT-50: many workers, every key is taken as often as it must be.
func TestQueueConcurrentSafe(t *testing.T) {
	g := NewWithT(t)
	q := queue.New(queue.Options{Workers: 8})
	var mu sync.Mutex
	running, runs := map[queue.Request]bool{}, map[queue.Request]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				r, shutdown := q.Get()
				if shutdown {
					return
				}
				mu.Lock()
				if running[r] {
					t.Errorf("%s runs twice at once", r)
				}
				running[r] = true
				runs[r]++
				mu.Unlock()
				mu.Lock()
				running[r] = false
				mu.Unlock()
				q.Done(r)
			}
		})
	}
	var adders sync.WaitGroup
	for a := range 4 {
		adders.Go(func() {
			for i := range 500 {
				q.AddClass(key(fmt.Sprintf("t%d/%d", i%5, i%50)), queue.Class((a+i)%3))
				q.AddClassAfter(key(fmt.Sprintf("t%d/%d", i%5, i%50)), queue.Routine, time.Millisecond)
			}
		})
	}
	adders.Wait()
	g.Eventually(q.Len, "10s").Should(BeZero())
	g.Eventually(func() int { mu.Lock(); defer mu.Unlock(); return len(runs) }, "10s").Should(Equal(50))
	q.ShutDownWithDrain()
	wg.Wait()
}

// RT-50…52: the queue against a plain model: what is taken was pending, and is
// taken once per addition.
func FuzzModel(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 250, 251, 252})
	f.Fuzz(func(t *testing.T, ops []byte) {
		q, c := newQueue(3)
		pending, running, dirty := map[queue.Request]bool{}, []queue.Request{}, map[queue.Request]bool{}
		for _, op := range ops {
			k := key(fmt.Sprintf("%c/%d", 'a'+rune(op%3), op/3%4))
			switch {
			case op < 128:
				q.AddClass(k, queue.Class(op%3))
				if slices.Contains(running, k) {
					dirty[k] = true
				} else {
					pending[k] = true
				}
			case op < 192:
				r, _, ok := q.TryGet()
				if !ok {
					continue
				}
				if !pending[r] {
					t.Fatalf("%s was not pending", r)
				}
				delete(pending, r)
				running = append(running, r)
			case op < 224 && len(running) > 0:
				r := running[0]
				running = running[1:]
				q.Done(r)
				if dirty[r] {
					delete(dirty, r)
					pending[r] = true
				}
			default:
				c.advance(time.Second)
				q.Tick()
			}
			if q.Len() != len(pending) {
				t.Fatalf("%d pending, want %d", q.Len(), len(pending))
			}
		}
		for _, r := range running {
			q.Done(r)
			if dirty[r] {
				pending[r] = true
			}
		}
		if got := drain(q); len(got) != len(pending) {
			t.Fatalf("drained %d, want %d", len(got), len(pending))
		}
	})
}

func BenchmarkAddGetDone(b *testing.B) {
	q := queue.New(queue.Options{Workers: 4})
	for i := range 100_000 {
		q.AddClass(key(fmt.Sprintf("t%d/%d", i%100, i)), queue.Class(i%3))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r, _ := q.Get()
		q.Done(r)
		q.AddClass(r, queue.Class(i%3))
	}
}
