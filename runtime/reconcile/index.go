// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// index knows, per watch, which own objects refer to a foreign one.
type index struct {
	mu      sync.RWMutex
	forward map[types.NamespacedName]indexed
	reverse []map[types.NamespacedName]map[types.NamespacedName]struct{}
}

type indexed struct {
	tenant string
	refs   [][]types.NamespacedName
}

func newIndex(watches int) *index {
	x := &index{forward: map[types.NamespacedName]indexed{}}
	for range watches {
		x.reverse = append(x.reverse, map[types.NamespacedName]map[types.NamespacedName]struct{}{})
	}
	return x
}

// set replaces the references of an own object.
func (x *index) set(own types.NamespacedName, tenant string, refs [][]types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(own)
	for i, list := range refs {
		for _, ref := range list {
			set := x.reverse[i][ref]
			if set == nil {
				set = map[types.NamespacedName]struct{}{}
				x.reverse[i][ref] = set
			}
			set[own] = struct{}{}
		}
	}
	x.forward[own] = indexed{tenant: tenant, refs: refs}
}

func (x *index) forget(own types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(own)
	delete(x.forward, own)
}

func (x *index) remove(own types.NamespacedName) {
	for i, list := range x.forward[own].refs {
		for _, ref := range list {
			set := x.reverse[i][ref]
			delete(set, own)
			if len(set) == 0 {
				delete(x.reverse[i], ref)
			}
		}
	}
}

// referrers returns the own objects that refer to a foreign one, sorted.
func (x *index) referrers(watch int, ref types.NamespacedName) []types.NamespacedName {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := make([]types.NamespacedName, 0, len(x.reverse[watch][ref]))
	for own := range x.reverse[watch][ref] {
		out = append(out, own)
	}
	slices.SortFunc(out, func(a, b types.NamespacedName) int {
		if a.Namespace != b.Namespace {
			if a.Namespace < b.Namespace {
				return -1
			}
			return 1
		}
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

func (x *index) tenant(own types.NamespacedName) string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if e, ok := x.forward[own]; ok {
		return e.tenant
	}
	return own.Namespace
}
