// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"container/list"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/gitops-kit/sdk/kustomize"
)

// resultBytes bounds the rendered bytes of the builds that are kept.
const resultBytes = 32 << 20

// results keeps the last build of each object, so that a run whose inputs
// did not change does not build. The least recently used go first. It is safe
// for concurrent use.
type results struct {
	mu    sync.Mutex
	bytes int64
	items map[types.UID]*list.Element
	order list.List // of *result, most recently used first
}

// result is a build with the digest of its objects.
type result struct {
	uid    types.UID
	built  *kustomize.Result
	digest string
	bytes  int64
}

// get returns the last build of an object, nil without.
func (r *results) get(uid types.UID) *result {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.items[uid]
	if e == nil {
		return nil
	}
	r.order.MoveToFront(e)
	return e.Value.(*result) //nolint:forcetypeassert // the only type in it
}

// put keeps a build, unless it is too large for all.
func (r *results) put(n *result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(n.uid)
	if n.bytes > resultBytes/4 {
		return
	}
	if r.items == nil {
		r.items = map[types.UID]*list.Element{}
	}
	r.items[n.uid] = r.order.PushFront(n)
	for r.bytes += n.bytes; r.bytes > resultBytes; {
		r.remove(r.order.Back().Value.(*result).uid) //nolint:forcetypeassert // the only type in it
	}
}

// drop forgets an object.
func (r *results) drop(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(uid)
}

func (r *results) remove(uid types.UID) {
	if e := r.items[uid]; e != nil {
		r.bytes -= r.order.Remove(e).(*result).bytes //nolint:forcetypeassert // the only type in it
		delete(r.items, uid)
	}
}
