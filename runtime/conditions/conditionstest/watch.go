// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package conditionstest

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/conditions/check"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Recorder holds what a watch has seen. The zero value has seen nothing.
type Recorder struct {
	mu       sync.Mutex
	last     map[string]any
	versions int
	found    []string
}

// Watch watches the objects of the lists in a namespace until the test ends, and
// fails the test for every rule that a version breaks. Objects of kinds without
// conditions are ignored.
func Watch(t testing.TB, c client.WithWatch, namespace string, lists ...client.ObjectList) *Recorder {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &Recorder{last: map[string]any{}}
	var wg sync.WaitGroup
	for _, l := range lists {
		w, err := c.Watch(ctx, l, client.InNamespace(namespace))
		if err != nil {
			cancel()
			t.Fatalf("watch %T: %v", l, err)
		}
		wg.Go(func() {
			defer w.Stop()
			r.follow(ctx, w)
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		for _, f := range r.Findings() {
			t.Error(f)
		}
	})
	return r
}

// Findings returns the rules that were broken so far, one line each.
func (r *Recorder) Findings() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.found...)
}

// Versions returns the number of versions seen.
func (r *Recorder) Versions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.versions
}

func (r *Recorder) follow(ctx context.Context, w watch.Interface) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.ResultChan():
			if !ok {
				return
			}
			if o, ok := e.Object.(client.Object); ok && e.Type != watch.Deleted {
				r.Look(o)
			}
		}
	}
}

// Look checks one version.
func (r *Recorder) Look(o client.Object) {
	g, ok := o.(conditions.Getter)
	if !ok {
		return
	}
	status := statusOf(o)
	key := fmt.Sprintf("%T %s/%s", o, o.GetNamespace(), o.GetName())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.versions++
	if r.last == nil {
		r.last = map[string]any{}
	}
	if reflect.DeepEqual(r.last[key], status) {
		return
	}
	r.last[key] = status
	for _, f := range check.Errors(check.Object(g)) {
		r.found = append(r.found, fmt.Sprintf("%s version %s: %s", key, o.GetResourceVersion(), f))
	}
}

// statusOf returns a copy of the Status field.
func statusOf(o client.Object) any {
	v := reflect.ValueOf(o.DeepCopyObject()).Elem()
	if v.Kind() == reflect.Struct && v.FieldByName("Status").IsValid() {
		return v.FieldByName("Status").Interface()
	}
	return nil
}
