// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	maxNamespaceLists = 8  // namespaces listed one by one; more ⇒ the whole cluster
	maxGets           = 16 // objects of one scope that are read one by one
	refusalMemory     = 10 * time.Minute
)

// Requests counts what a call asked of the server.
type Requests struct {
	List         int `json:"list"`         // LISTs of whole objects
	Pages        int `json:"pages"`        // their pages after the first
	MetadataList int `json:"metadataList"` // LISTs of metadata only
	Get          int `json:"get"`
	DryRun       int `json:"dryRun"`
	Patch        int `json:"patch"`  // applies and JSON patches
	Delete       int `json:"delete"` // deletions
}

type counter struct{ list, pages, meta, get, dryRun, patch, del atomic.Int64 }

func (c *counter) requests() Requests {
	return Requests{
		List: int(c.list.Load()), Pages: int(c.pages.Load()), MetadataList: int(c.meta.Load()), Get: int(c.get.Load()),
		DryRun: int(c.dryRun.Load()), Patch: int(c.patch.Load()), Delete: int(c.del.Load()),
	}
}

// refusals remembers which LISTs were forbidden.
type refusals struct {
	mu sync.Mutex
	at map[scope]time.Time
}

type scope struct {
	gvr       schema.GroupVersionResource
	namespace string // "" = cluster-wide
}

func newRefusals() *refusals { return &refusals{at: map[scope]time.Time{}} }

// refusalsOf returns what the cluster's identity was refused: managers come
// and go, the identity stays.
func refusalsOf(c Cluster) *refusals {
	if c, ok := c.(interface{ refusals() *refusals }); ok {
		return c.refusals()
	}
	return newRefusals()
}

func (r *refusals) add(s scope) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[s] = time.Now()
}

func (r *refusals) has(s scope) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.at[s]
	return ok && time.Since(at) < refusalMemory
}

// wanted is one object to read. found is called at most once; live is nil for
// an object that does not exist.
type wanted struct {
	r               Resource
	namespace, name string
	found           func(live *liveObject, err error)
	done            bool
	metadata        bool // is enough; the same for all objects of a resource
}

// reader reads many objects with few requests.
type reader struct {
	m     *Manager
	count *counter
	gate  chan struct{} // bounds the LISTs and GETs that run at a time
}

type objectKey struct{ namespace, name string }

// read finds all objects; it returns when every found was called.
func (m *Manager) read(ctx context.Context, want []*wanted, count *counter) {
	if m.o.Live != nil {
		m.each(len(want), func(i int) { m.cached(ctx, want[i]) })
		return
	}
	rd := &reader{m: m, count: count, gate: make(chan struct{}, m.o.Concurrency)}
	byResource := map[schema.GroupVersionResource][]*wanted{}
	for _, w := range want {
		byResource[w.r.GVR] = append(byResource[w.r.GVR], w)
	}
	var wg sync.WaitGroup
	for _, group := range byResource {
		wg.Go(func() { rd.resource(ctx, group) })
	}
	wg.Wait()
}

func (m *Manager) cached(ctx context.Context, w *wanted) {
	u, err := m.o.Live.Live(ctx, w.r, w.namespace, w.name)
	switch {
	case isAbsent(err):
		w.found(nil, nil)
	case err != nil:
		w.found(nil, err)
	default:
		w.found(&liveObject{u: u}, nil)
	}
}

// resource reads the objects of one resource, choosing the scope of its LISTs.
func (rd *reader) resource(ctx context.Context, want []*wanted) {
	r := want[0].r
	byNamespace := map[string][]*wanted{}
	for _, w := range want {
		byNamespace[w.namespace] = append(byNamespace[w.namespace], w)
	}
	if !r.Namespaced || len(byNamespace) > maxNamespaceLists {
		wide := scope{r.GVR, ""}
		if !rd.m.refused.has(wide) {
			err := rd.list(ctx, r, "", want)
			if !apierrors.IsForbidden(err) {
				rd.finish(ctx, r, "", want, err)
				return
			}
			rd.m.refused.add(wide)
		}
		if !r.Namespaced {
			rd.gets(ctx, want)
			return
		}
	}
	var wg sync.WaitGroup
	for _, ns := range slices.Sorted(maps.Keys(byNamespace)) {
		wg.Go(func() { rd.namespace(ctx, r, ns, byNamespace[ns]) })
	}
	wg.Wait()
}

func (rd *reader) namespace(ctx context.Context, r Resource, ns string, want []*wanted) {
	s := scope{r.GVR, ns}
	if rd.m.refused.has(s) {
		rd.gets(ctx, want)
		return
	}
	err := rd.list(ctx, r, ns, want)
	if apierrors.IsForbidden(err) {
		rd.m.refused.add(s)
		rd.gets(ctx, want)
		return
	}
	rd.finish(ctx, r, ns, want, err)
}

// list runs the LIST by owner labels. A LIST that breaks is repeated once.
func (rd *reader) list(ctx context.Context, r Resource, ns string, want []*wanted) error {
	rd.gate <- struct{}{}
	defer func() { <-rd.gate }()
	index := make(map[objectKey]*wanted, len(want))
	for _, w := range want {
		index[objectKey{w.namespace, w.name}] = w
	}
	err := rd.listOnce(ctx, r, ns, want[0].metadata, index)
	if err == nil || apierrors.IsForbidden(err) || ctx.Err() != nil || errors.Is(err, ErrLimit) || errors.Is(err, ErrThrottled) {
		return err
	}
	return rd.listOnce(ctx, r, ns, want[0].metadata, index)
}

func (rd *reader) listOnce(ctx context.Context, r Resource, ns string, metadata bool, index map[objectKey]*wanted) error {
	count := &rd.count.list
	if metadata {
		count = &rd.count.meta
	}
	count.Add(1)
	first := true
	o := ListOptions{Namespace: ns, LabelSelector: rd.m.o.Owner.selector(), MetadataOnly: metadata, OnPage: func(int, string) {
		if !first {
			rd.count.pages.Add(1)
		}
		first = false
	}}
	for l, err := range rd.m.listLive(ctx, r, o) {
		if err != nil {
			return err
		}
		w := index[objectKey{l.u.GetNamespace(), l.u.GetName()}]
		if w == nil || w.done {
			continue
		}
		w.done = true
		w.found(l, nil)
	}
	return nil
}

// listLive lists with managedFields aside where the cluster can do that.
func (m *Manager) listLive(ctx context.Context, r Resource, o ListOptions) iter.Seq2[*liveObject, error] {
	if c, ok := m.c.(interface {
		listSplit(ctx context.Context, r Resource, o ListOptions) iter.Seq2[*liveObject, error]
	}); ok {
		return c.listSplit(ctx, r, o)
	}
	return func(yield func(*liveObject, error) bool) {
		for u, err := range m.c.List(ctx, r, o) {
			if !yield(&liveObject{u: u}, err) {
				return
			}
		}
	}
}

// finish reads what the LIST did not return: objects that do not carry our
// labels, or do not exist.
func (rd *reader) finish(ctx context.Context, r Resource, ns string, want []*wanted, err error) {
	missing := want[:0:0]
	for _, w := range want {
		if !w.done {
			missing = append(missing, w)
		}
	}
	if err != nil {
		for _, w := range missing {
			w.done = true
			w.found(nil, err)
		}
		return
	}
	if len(missing) > maxGets {
		missing = rd.existing(ctx, r, ns, missing)
	}
	rd.gets(ctx, missing)
}

// existing narrows missing down to what exists at all, by one LIST of
// metadata. Where that is impossible, everything stays.
func (rd *reader) existing(ctx context.Context, r Resource, ns string, missing []*wanted) []*wanted {
	rd.gate <- struct{}{}
	defer func() { <-rd.gate }()
	rd.count.meta.Add(1)
	names := map[objectKey]bool{}
	for u, err := range rd.m.c.List(ctx, r, ListOptions{Namespace: ns, MetadataOnly: true}) {
		if err != nil {
			return missing
		}
		names[objectKey{u.GetNamespace(), u.GetName()}] = true
	}
	left := missing[:0]
	for _, w := range missing {
		if names[objectKey{w.namespace, w.name}] {
			left = append(left, w)
			continue
		}
		w.done = true
		w.found(nil, nil)
	}
	return left
}

func (rd *reader) gets(ctx context.Context, want []*wanted) {
	var wg sync.WaitGroup
	for _, w := range want {
		if w.done {
			continue
		}
		w.done = true
		rd.gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-rd.gate }()
			rd.count.get.Add(1)
			l, err := rd.m.get(ctx, w.r, w.namespace, w.name)
			w.found(l, err)
		})
	}
	wg.Wait()
}

// get reads one object; nil without error when it does not exist.
func (m *Manager) get(ctx context.Context, r Resource, ns, name string) (*liveObject, error) {
	if m.o.Live != nil {
		u, err := m.o.Live.Live(ctx, r, ns, name)
		return liveOrNil(u, err)
	}
	u, err := m.c.Get(ctx, r, ns, name)
	return liveOrNil(u, err)
}

// fresh reads an object from the server, also when there is a reader of live
// state: that one may lag behind what was just written or seen.
func (m *Manager) fresh(ctx context.Context, r Resource, ns, name string) (*liveObject, error) {
	u, err := m.c.Get(ctx, r, ns, name)
	return liveOrNil(u, err)
}

func liveOrNil(u *unstructured.Unstructured, err error) (*liveObject, error) {
	switch {
	case isAbsent(err):
		return nil, nil //nolint:nilnil // absence is not an error here
	case err != nil:
		return nil, fmt.Errorf("get: %w", err)
	}
	return &liveObject{u: u}, nil
}

// isAbsent reports whether the server said that the object does not exist, as
// opposed to not knowing its kind.
func isAbsent(err error) bool { return apierrors.IsNotFound(err) && !errors.Is(err, ErrDiscovery) }

func isUnknownKind(err error) bool { return errors.Is(err, ErrKindUnknown) }
