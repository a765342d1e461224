// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/internal/text"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	noteBytes = 1024
	perSecond = 50
	seriesMax = 10000
)

// Writer stores Kubernetes events.
type Writer interface {
	// Create stores a new event.
	Create(ctx context.Context, e *corev1.Event) error
	// Patch applies a JSON merge patch to an event.
	Patch(ctx context.Context, namespace, name string, patch []byte) error
}

// Kubernetes writes core/v1 events. Use [NewKubernetes].
type Kubernetes struct {
	w   Writer
	now func() time.Time

	mu     sync.Mutex
	tokens float64
	last   time.Time
	series map[string]*series
}

// series is one event that may repeat.
type series struct {
	namespace, name string
	count           int32
	at              time.Time
}

var _ Sink = (*Kubernetes)(nil)

// NewKubernetes returns a sink that writes through w at most 50 events per
// second; beyond that, events that are no warnings are dropped and warnings
// wait.
func NewKubernetes(w Writer) *Kubernetes {
	return &Kubernetes{w: w, now: time.Now, tokens: perSecond, series: map[string]*series{}}
}

// Name is "kubernetes".
func (k *Kubernetes) Name() string { return "kubernetes" }

// RateError reports an event that was dropped because there were too many.
type RateError struct{}

// Error says so.
func (*RateError) Error() string { return "more than 50 events per second" }

// Send stores the record: as a new event, or as a further occurrence of an equal
// one of the last hour.
func (k *Kubernetes) Send(ctx context.Context, r *Record) error {
	for !k.take() {
		if r.info() {
			return &RateError{}
		}
		t := time.NewTimer(time.Second / perSecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
	key := r.Key + "\x00" + string(r.Type) + "\x00" + r.Payload.Reason + "\x00" + r.Payload.Message
	if s := k.repeat(key); s != nil {
		return k.again(ctx, s, r)
	}
	e := k.event(r)
	if err := k.w.Create(ctx, e); err != nil {
		return fmt.Errorf("create event: %w", err)
	}
	k.remember(key, e)
	return nil
}

func (k *Kubernetes) take() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if !k.last.IsZero() {
		k.tokens = min(perSecond, k.tokens+now.Sub(k.last).Seconds()*perSecond)
	}
	k.last = now
	if k.tokens < 1 {
		return false
	}
	k.tokens--
	return true
}

func (k *Kubernetes) repeat(key string) *series {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.series[key]
	if s == nil || k.now().Sub(s.at) >= repeatAfter {
		return nil
	}
	s.count++
	c := *s
	return &c
}

func (k *Kubernetes) remember(key string, e *corev1.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.series) >= seriesMax {
		now := k.now()
		for key, s := range k.series {
			if now.Sub(s.at) >= repeatAfter || len(k.series) >= seriesMax {
				delete(k.series, key)
			}
		}
	}
	k.series[key] = &series{namespace: e.Namespace, name: e.Name, count: 1, at: k.now()}
}

func (k *Kubernetes) again(ctx context.Context, s *series, r *Record) error {
	patch, err := json.Marshal(map[string]any{"count": s.count, "lastTimestamp": r.Payload.Timestamp})
	if err != nil {
		return err
	}
	if err := k.w.Patch(ctx, s.namespace, s.name, patch); err != nil {
		return fmt.Errorf("patch event: %w", err)
	}
	return nil
}

// event is the core/v1 form of a record.
func (k *Kubernetes) event(r *Record) *corev1.Event {
	p := r.Payload
	namespace := p.InvolvedObject.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	typ := corev1.EventTypeNormal
	if r.Type == Warning {
		typ = corev1.EventTypeWarning
	}
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Name:        eventName(p.InvolvedObject.Name),
			Namespace:   namespace,
			Annotations: p.Metadata,
		},
		InvolvedObject: reference(p.InvolvedObject),
		Reason:         p.Reason,
		Message:        text.Cut(p.Message, noteBytes, "..."),
		Source:         corev1.EventSource{Component: p.ReportingController},
		FirstTimestamp: p.Timestamp, LastTimestamp: p.Timestamp, Count: 1,
		Type:                typ,
		ReportingController: p.ReportingController,
		ReportingInstance:   p.ReportingInstance,
	}
}

// eventName is "<object>.<16 hex>", at most 253 bytes.
func eventName(object string) string {
	if len(object) > 236 {
		object = object[:236]
	}
	return fmt.Sprintf("%s.%016x", object, rand.Uint64()) //nolint:gosec // a name, not a secret
}

func reference(o meta.ObjectReference) corev1.ObjectReference {
	return corev1.ObjectReference{
		Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, UID: o.UID, APIVersion: o.APIVersion,
		ResourceVersion: o.ResourceVersion, FieldPath: o.FieldPath,
	}
}
