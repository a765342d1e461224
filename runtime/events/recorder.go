// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
)

const drainTime = 10 * time.Second

// Sink delivers records. Send is called by up to four goroutines, in order for
// each object; it retries as it sees fit and returns when ctx is done.
type Sink interface {
	// Name is used in metrics and logs.
	Name() string
	// Send delivers one record.
	Send(ctx context.Context, r *Record) error
}

// Filter is an optional ability of a [Sink].
type Filter interface {
	// Accepts reports whether the sink wants the record.
	Accepts(r *Record) bool
}

// Options of a [Recorder]. The zero value has no sink and drops everything.
type Options struct {
	// Controller is the name of the emitting controller.
	Controller string
	// Instance is the name of the process, usually its host name.
	Instance string
	// Scheme finds the kind of typed objects.
	Scheme *runtime.Scheme
	// Sinks to deliver to.
	Sinks []Sink
	// Repeat sends equal events again and again.
	Repeat bool
	// Queue is the number of events that may wait per sink; 0 is 1,000.
	Queue int
	// Logger gets one debug line per event and one line for failed deliveries.
	// The zero value logs nothing.
	Logger logr.Logger
	// Observe, when set, is called with the name of the sink ("" before any) and
	// what became of an event: sent, failed, dropped, duplicate, invalid, lost.
	Observe func(sink, result string)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Recorder emits events. Use [New]; [Recorder.Start] delivers them. A nil
// Recorder emits nothing.
type Recorder struct {
	o     Options
	rings []*ring
	dedup *dedup
	once  sync.Once
}

// New returns a Recorder. Events emitted before Start wait in the queue.
func New(o Options) *Recorder {
	if o.Queue <= 0 {
		o.Queue = capacity
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger.GetSink() == nil {
		o.Logger = logr.Discard()
	}
	r := &Recorder{o: o, dedup: newDedup(dedupKeys)}
	for range o.Sinks {
		r.rings = append(r.rings, newRing(o.Queue))
	}
	return r
}

// For returns a recorder that emits as another controller into the same queues.
func (r *Recorder) For(controller string) *Recorder {
	if r == nil {
		return nil
	}
	c := &Recorder{o: r.o, rings: r.rings, dedup: r.dedup}
	c.o.Controller = controller
	return c
}

// Emit queues an event. It never blocks, never fails and never panics: an event
// without an object or kind is counted and dropped.
func (r *Recorder) Emit(e Event) {
	if r == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil { // an object whose methods panic, such as a nil pointer in an interface
			r.observe("", "invalid")
		}
	}()
	now := r.o.Now()
	rec, ok := r.record(e, now)
	if !ok {
		r.observe("", "invalid")
		return
	}
	if !r.o.Repeat && !r.dedup.fresh(rec, now) {
		r.observe("", "duplicate")
		return
	}
	r.log(rec)
	for i, s := range r.o.Sinks {
		if f, ok := s.(Filter); ok && !f.Accepts(rec) {
			continue
		}
		if dropped := r.rings[i].push(rec); dropped != nil {
			r.observe(s.Name(), "dropped")
		}
	}
}

// Emitf is Emit without metadata.
func (r *Recorder) Emitf(o Object, typ Type, reason, format string, a ...any) {
	message := format
	if len(a) > 0 {
		message = fmt.Sprintf(format, a...)
	}
	r.Emit(Event{Object: o, Type: typ, Reason: reason, Message: message})
}

// Start delivers events until ctx is done, then stops intake and drains for at
// most ten seconds. What is left is counted as lost. It returns nil.
func (r *Recorder) Start(ctx context.Context) error {
	if r == nil {
		<-ctx.Done()
		return nil
	}
	r.once.Do(func() { r.run(ctx) })
	return nil
}

// NeedLeaderElection reports that events are delivered by every replica.
func (r *Recorder) NeedLeaderElection() bool { return false }

func (r *Recorder) run(ctx context.Context) {
	send, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var wg sync.WaitGroup
	for i, s := range r.o.Sinks {
		for j := range shards {
			wg.Go(func() { r.deliver(send, s, r.rings[i], j) })
		}
	}
	<-ctx.Done()
	for _, q := range r.rings {
		q.close()
	}
	done := make(chan struct{})
	go func() { defer close(done); wg.Wait() }()
	t := time.NewTimer(drainTime)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		cancel()
		<-done
	}
	lost := 0
	for i, q := range r.rings {
		n := q.len()
		lost += n
		for range n {
			r.observe(r.o.Sinks[i].Name(), "lost")
		}
	}
	if lost > 0 {
		r.o.Logger.Info("events lost at shutdown", "count", lost)
	}
}

func (r *Recorder) deliver(ctx context.Context, s Sink, q *ring, i int) {
	for {
		e, ok := q.pop(ctx, i)
		if !ok {
			return
		}
		if err := s.Send(ctx, e); err != nil {
			r.observe(s.Name(), "failed")
			r.o.Logger.Info("event not delivered", "sink", s.Name(), "error", err.Error(), "reason", e.Payload.Reason)
			continue
		}
		r.observe(s.Name(), "sent")
	}
}

// log writes the line that clients of the log parse.
func (r *Recorder) log(e *Record) {
	ref := e.Payload.InvolvedObject
	r.o.Logger.V(1).Info(e.Payload.Message, "reconciler kind", ref.Kind, "controllerKind", ref.Kind,
		"name", ref.Name, "namespace", ref.Namespace, "reason", e.Payload.Reason)
}

func (r *Recorder) observe(sink, result string) {
	if r.o.Observe != nil {
		r.o.Observe(sink, result)
	}
}

func isNil(o Object) bool {
	if o == nil {
		return true
	}
	v := reflect.ValueOf(o)
	return v.Kind() == reflect.Pointer && v.IsNil()
}
