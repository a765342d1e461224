// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssatest

import (
	"context"
	"iter"
	"sync"

	"github.com/gitops-kit/sdk/ssa"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// Call is one call of a Cluster method.
type Call struct {
	Verb            string // resource, list, get, watch, apply, jsonpatch, create, update, delete
	Kind            string
	Namespace, Name string
	DryRun          bool
	Metadata        bool
	UID             string // precondition of a deletion
	Seq             int    // from 1, over all calls
}

// Mutates reports whether the call may change something.
func (c Call) Mutates() bool {
	switch c.Verb {
	case "apply", "jsonpatch", "create", "update", "delete":
		return !c.DryRun
	}
	return false
}

// Recorder is a Cluster that records and breaks calls of another one.
type Recorder struct {
	ssa.UnimplementedCluster
	inner ssa.Cluster

	mu     sync.Mutex
	calls  []Call
	before func(Call) error
	after  func(Call) error
}

var (
	_ ssa.Cluster   = (*Recorder)(nil)
	_ ssa.Refresher = (*Recorder)(nil)
)

// NewRecorder returns a recorder around inner.
func NewRecorder(inner ssa.Cluster) *Recorder { return &Recorder{inner: inner} }

// Before sets what is asked before each call; its error replaces the call.
func (r *Recorder) Before(f func(Call) error) { r.mu.Lock(); defer r.mu.Unlock(); r.before = f }

// After sets what is asked after each successful call; its error replaces the
// reply, as if it had been lost.
func (r *Recorder) After(f func(Call) error) { r.mu.Lock(); defer r.mu.Unlock(); r.after = f }

// Reset forgets the calls so far.
func (r *Recorder) Reset() { r.mu.Lock(); defer r.mu.Unlock(); r.calls = nil }

// Calls returns a copy of the calls so far.
func (r *Recorder) Calls() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Call(nil), r.calls...)
}

// Count returns the number of calls that match; nil matches all.
func (r *Recorder) Count(match func(Call) bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.calls {
		if match == nil || match(c) {
			n++
		}
	}
	return n
}

// Writes returns the number of calls that may have changed something.
func (r *Recorder) Writes() int { return r.Count(Call.Mutates) }

func (r *Recorder) start(c Call) (Call, error) {
	r.mu.Lock()
	c.Seq = len(r.calls) + 1
	r.calls = append(r.calls, c)
	before := r.before
	r.mu.Unlock()
	if before == nil {
		return c, nil
	}
	return c, before(c)
}

func (r *Recorder) end(c Call, err error) error {
	r.mu.Lock()
	after := r.after
	r.mu.Unlock()
	if err != nil || after == nil {
		return err
	}
	return after(c)
}

// Resource implements ssa.Cluster.
func (r *Recorder) Resource(ctx context.Context, gvk schema.GroupVersionKind) (ssa.Resource, error) {
	c, err := r.start(Call{Verb: "resource", Kind: gvk.Kind})
	if err != nil {
		return ssa.Resource{}, err
	}
	res, err := r.inner.Resource(ctx, gvk)
	return res, r.end(c, err)
}

// Refresh implements ssa.Refresher.
func (r *Recorder) Refresh(group string) {
	if f, ok := r.inner.(ssa.Refresher); ok {
		f.Refresh(group)
	}
}

// List implements ssa.Cluster. A fault after the call ends the list behind
// its first object.
func (r *Recorder) List(ctx context.Context, res ssa.Resource, o ssa.ListOptions) iter.Seq2[*unstructured.Unstructured, error] {
	return func(yield func(*unstructured.Unstructured, error) bool) {
		c, err := r.start(Call{Verb: "list", Kind: res.GVK.Kind, Namespace: o.Namespace, Metadata: o.MetadataOnly})
		if err != nil {
			yield(nil, err)
			return
		}
		for u, err := range r.inner.List(ctx, res, o) {
			if !yield(u, err) || err != nil {
				return
			}
			if err := r.end(c, nil); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// Get implements ssa.Cluster.
func (r *Recorder) Get(ctx context.Context, res ssa.Resource, namespace, name string) (*unstructured.Unstructured, error) {
	c, err := r.start(Call{Verb: "get", Kind: res.GVK.Kind, Namespace: namespace, Name: name})
	if err != nil {
		return nil, err
	}
	u, err := r.inner.Get(ctx, res, namespace, name)
	if err = r.end(c, err); err != nil {
		return nil, err
	}
	return u, nil
}

// Send implements ssa.Cluster.
func (r *Recorder) Send(ctx context.Context, w ssa.Write) (*unstructured.Unstructured, error) {
	name := w.Name
	if name == "" && w.Object != nil {
		name = w.Object.GetName()
	}
	c, err := r.start(Call{Verb: string(w.Verb), Kind: w.Resource.GVK.Kind, Namespace: w.Namespace, Name: name, DryRun: w.DryRun, UID: w.UID})
	if err != nil {
		return nil, err
	}
	u, err := r.inner.Send(ctx, w)
	if err = r.end(c, err); err != nil {
		return nil, err
	}
	return u, nil
}

// Watch implements ssa.Cluster.
func (r *Recorder) Watch(ctx context.Context, res ssa.Resource, o ssa.ListOptions) (watch.Interface, error) {
	c, err := r.start(Call{Verb: "watch", Kind: res.GVK.Kind, Namespace: o.Namespace})
	if err != nil {
		return nil, err
	}
	w, err := r.inner.Watch(ctx, res, o)
	if err = r.end(c, err); err != nil {
		if w != nil {
			w.Stop()
		}
		return nil, err
	}
	return w, nil
}
