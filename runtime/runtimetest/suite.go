// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/conditions/conditionstest"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Setup describes the controller under test.
type Setup[T reconcile.Object] struct {
	// Client reaches the API server, which has the controller's definitions.
	Client client.WithWatch
	// Namespace for the objects; the suite has it for itself.
	Namespace string
	// List is an empty list of the kind.
	List client.ObjectList
	// New returns an object that becomes Ready by itself, with a long interval.
	New func(namespace, name string) T
	// Change changes the spec such that the object becomes Ready again; nil skips
	// the script.
	Change func(T)
	// Finalizer that the controller puts on its objects; "" is the usual one.
	Finalizer string
	// Start runs the controller until ctx is done.
	Start func(ctx context.Context) error
	// Timeout of one script; 0 is 30 s.
	Timeout time.Duration
}

// Violation is one expectation that was not met.
type Violation struct {
	// Script that found it.
	Script string
	// Text says what was seen.
	Text string
}

// String returns script and text.
func (v Violation) String() string { return v.Script + ": " + v.Text }

// Conformance runs the suite and fails the test for every violation.
func Conformance[T reconcile.Object](t *testing.T, s Setup[T]) {
	t.Helper()
	found, err := Run(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

// Run runs the suite and returns what was violated. The error is about the
// environment, not about the controller.
func Run[T reconcile.Object](ctx context.Context, s Setup[T]) ([]Violation, error) {
	if s.Timeout <= 0 {
		s.Timeout = 30 * time.Second
	}
	if s.Finalizer == "" {
		s.Finalizer = meta.Finalizer
	}
	r := &runner[T]{s: s, rules: &conditionstest.Recorder{}}
	w, err := s.Client.Watch(ctx, s.List, client.InNamespace(s.Namespace))
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	var seen sync.WaitGroup
	seen.Go(func() {
		for e := range w.ResultChan() {
			if o, ok := e.Object.(client.Object); ok {
				r.rules.Look(o)
			}
		}
	})
	r.launch(ctx)
	for _, script := range []struct {
		name string
		run  func(context.Context) error
	}{{"ready", r.ready}, {"token", r.token}, {"change", r.change}, {"suspend", r.suspend}, {"idle", r.idle}, {"restart", r.restart}, {"delete", r.remove}} {
		sctx, cancel := context.WithTimeout(ctx, s.Timeout)
		if err := script.run(sctx); err != nil {
			r.violate(script.name, "%v", err)
		}
		cancel()
	}
	if err := r.halt(); err != nil {
		r.violate("stop", "%v", err)
	}
	w.Stop()
	seen.Wait()
	for _, f := range r.rules.Findings() {
		r.violate("status", "%s", f)
	}
	return r.found, ctx.Err()
}

type runner[T reconcile.Object] struct {
	s      Setup[T]
	rules  *conditionstest.Recorder
	found  []Violation
	cancel context.CancelFunc
	ended  chan error
	tokens int
}

func (r *runner[T]) violate(script, format string, a ...any) {
	r.found = append(r.found, Violation{script, fmt.Sprintf(format, a...)})
}

func (r *runner[T]) launch(ctx context.Context) {
	ctx, r.cancel = context.WithCancel(ctx) //nolint:gosec // halt calls it
	r.ended = make(chan error, 1)
	go func() { r.ended <- r.s.Start(ctx) }()
}

// halt stops the controller.
func (r *runner[T]) halt() error {
	r.cancel()
	t := time.NewTimer(r.s.Timeout)
	defer t.Stop()
	select {
	case err := <-r.ended:
		return err
	case <-t.C:
		return errors.New("the controller does not stop")
	}
}

func (r *runner[T]) key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: r.s.Namespace, Name: name}
}

func (r *runner[T]) get(ctx context.Context, name string) (T, error) {
	o := r.s.New(r.s.Namespace, name)
	err := r.s.Client.Get(ctx, r.key(name), o)
	return o, err
}

// until polls the object; the error says what was expected and seen last.
func (r *runner[T]) until(ctx context.Context, name, what string, ok func(T) bool) (T, error) {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	var last T
	for {
		o, err := r.get(ctx, name)
		if err == nil {
			if last = o; ok(o) {
				return o, nil
			}
		}
		select {
		case <-ctx.Done():
			if any(last) == nil {
				return last, fmt.Errorf("%s: not %s: %w", name, what, err)
			}
			return last, fmt.Errorf("%s: not %s: Ready is %q: %s", name, what, conditions.Reason(last, meta.ReadyCondition), conditions.Message(last, meta.ReadyCondition))
		case <-t.C:
		}
	}
}

// create makes an object and waits until it is ready.
func (r *runner[T]) create(ctx context.Context, name string) (T, error) {
	o := r.s.New(r.s.Namespace, name)
	if err := r.s.Client.Create(ctx, o); err != nil {
		return o, fmt.Errorf("create: %w", err)
	}
	return r.until(ctx, name, "ready", func(o T) bool { return conditions.IsReady(o) })
}

// request asks for a run and waits until the token is recorded: a fence behind
// which the controller has seen everything before.
func (r *runner[T]) request(ctx context.Context, name string) error {
	r.tokens++
	token := fmt.Sprintf("conformance-%d", r.tokens)
	if err := r.annotate(ctx, name, token); err != nil {
		return err
	}
	_, err := r.until(ctx, name, "recording the token", func(o T) bool { return handled(o) == token })
	return err
}

func (r *runner[T]) annotate(ctx context.Context, name, token string) error {
	body := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, token)
	return r.merge(ctx, name, body)
}

func (r *runner[T]) merge(ctx context.Context, name, body string) error {
	return r.s.Client.Patch(ctx, r.s.New(r.s.Namespace, name), client.RawPatch(types.MergePatchType, []byte(body)))
}

func handled(o any) string {
	if h, ok := o.(interface{ HandledRequest() *string }); ok {
		return *h.HandledRequest()
	}
	return ""
}

func (r *runner[T]) ready(ctx context.Context) error {
	o, err := r.create(ctx, "ready")
	if err != nil {
		return err
	}
	if !slices.Contains(o.GetFinalizers(), r.s.Finalizer) {
		return fmt.Errorf("ready without the finalizer %s", r.s.Finalizer)
	}
	return nil
}

func (r *runner[T]) token(ctx context.Context) error { return r.request(ctx, "ready") }

func (r *runner[T]) change(ctx context.Context) error {
	if r.s.Change == nil {
		return nil
	}
	o, err := r.get(ctx, "ready")
	if err != nil {
		return err
	}
	before := o.GetGeneration()
	r.s.Change(o)
	if err := r.s.Client.Update(ctx, o); err != nil {
		return fmt.Errorf("change the spec: %w", err)
	}
	_, err = r.until(ctx, "ready", "ready for the new generation", func(o T) bool {
		c := conditions.Get(o, meta.ReadyCondition)
		return o.GetGeneration() > before && conditions.IsReady(o) && c.ObservedGeneration == o.GetGeneration()
	})
	return err
}

// suspend: a suspended object ignores tokens, and is still deleted.
func (r *runner[T]) suspend(ctx context.Context) error {
	if _, ok := any(r.s.New("x", "x")).(interface{ Suspended() bool }); !ok {
		return nil
	}
	if _, err := r.create(ctx, "suspended"); err != nil {
		return err
	}
	if err := r.merge(ctx, "suspended", `{"spec":{"suspend":true}}`); err != nil {
		return err
	}
	if err := r.annotate(ctx, "suspended", "ignored"); err != nil {
		return err
	}
	if err := r.request(ctx, "ready"); err != nil {
		return err
	}
	o, err := r.get(ctx, "suspended")
	if err != nil {
		return err
	}
	if handled(o) == "ignored" {
		return errors.New("a suspended object was run")
	}
	return r.delete(ctx, "suspended")
}

// idle: an object that nobody touches is not written.
func (r *runner[T]) idle(ctx context.Context) error {
	o, err := r.create(ctx, "idle")
	if err != nil {
		return err
	}
	for range 3 {
		if err := r.request(ctx, "ready"); err != nil {
			return err
		}
	}
	again, err := r.get(ctx, "idle")
	if err != nil {
		return err
	}
	if again.GetResourceVersion() != o.GetResourceVersion() {
		return errors.New("an object was written although nothing had changed")
	}
	return nil
}

// restart: after a restart an unchanged object is neither written nor unready.
func (r *runner[T]) restart(ctx context.Context) error {
	o, err := r.get(ctx, "idle")
	if err != nil {
		return err
	}
	if err := r.halt(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	r.launch(context.WithoutCancel(ctx))
	if err := r.request(ctx, "ready"); err != nil {
		return err
	}
	again, err := r.get(ctx, "idle")
	if err != nil {
		return err
	}
	if !conditions.IsReady(again) {
		return errors.New("an object is not ready any more after a restart")
	}
	if again.GetGeneration() != o.GetGeneration() {
		return errors.New("a spec was changed by a restart")
	}
	return nil
}

func (r *runner[T]) remove(ctx context.Context) error {
	return errors.Join(r.delete(ctx, "ready"), r.delete(ctx, "idle"))
}

// delete deletes an object and waits until its finalizer is gone.
func (r *runner[T]) delete(ctx context.Context, name string) error {
	o := r.s.New(r.s.Namespace, name)
	if err := r.s.Client.Delete(ctx, o); err != nil {
		return client.IgnoreNotFound(err)
	}
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		if _, err := r.get(ctx, name); apierrors.IsNotFound(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: still there although it was deleted", name)
		case <-t.C:
		}
	}
}
