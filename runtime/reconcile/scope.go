// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"sync"

	"github.com/gitops-kit/sdk/runtime/queue"
	"k8s.io/apimachinery/pkg/types"
)

// scopes knows which objects wait for something that fails for all of them,
// such as a server that cannot be reached.
type scopes struct {
	mu      sync.Mutex
	waiting map[string]map[types.NamespacedName]struct{}
	of      map[types.NamespacedName]string
	probe   map[string]types.NamespacedName
}

func newScopes() *scopes {
	return &scopes{
		waiting: map[string]map[types.NamespacedName]struct{}{}, of: map[types.NamespacedName]string{},
		probe: map[string]types.NamespacedName{},
	}
}

// fail records that a run of key failed in scope. It returns true when key is
// the one that probes the scope; the others wait for it.
func (s *scopes) fail(key types.NamespacedName, scope string) (probes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(key, scope)
	s.of[key] = scope
	set := s.waiting[scope]
	if set == nil {
		set = map[types.NamespacedName]struct{}{}
		s.waiting[scope] = set
	}
	set[key] = struct{}{}
	if p, ok := s.probe[scope]; ok && p != key {
		return false
	}
	s.probe[scope] = key
	return true
}

// pass records that key did not fail in its scope any more. It returns the
// objects that waited for the scope, and key's successor as probe when the
// scope itself did not recover.
func (s *scopes) pass(key types.NamespacedName, recovered bool) []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	scope, ok := s.of[key]
	if !ok {
		return nil
	}
	if recovered {
		var out []types.NamespacedName
		for k := range s.waiting[scope] {
			delete(s.of, k)
			if k != key {
				out = append(out, k)
			}
		}
		delete(s.waiting, scope)
		delete(s.probe, scope)
		return out
	}
	return s.leave(key, "")
}

// leave takes key out of its scope unless that is stay, and returns a new probe
// if key was it.
func (s *scopes) leave(key types.NamespacedName, stay string) []types.NamespacedName {
	scope, ok := s.of[key]
	if !ok || scope == stay {
		return nil
	}
	delete(s.of, key)
	delete(s.waiting[scope], key)
	if s.probe[scope] != key {
		return nil
	}
	delete(s.probe, scope)
	for k := range s.waiting[scope] {
		s.probe[scope] = k
		return []types.NamespacedName{k}
	}
	delete(s.waiting, scope)
	return nil
}

// scoped updates the scopes after a run and reports whether the object waits for
// another one's probe.
func (h *harness[T]) scoped(key types.NamespacedName, s Summary) (waits bool) {
	scope := ""
	if s.Outcome == Transient {
		scope = scopeOf(s.Err)
	}
	if scope != "" {
		return !h.scope.fail(key, scope)
	}
	recovered := s.Outcome == Succeeded || s.Outcome == Unchanged
	for _, k := range h.scope.pass(key, recovered) {
		h.enqueue(k, queue.Retry)
	}
	return false
}
