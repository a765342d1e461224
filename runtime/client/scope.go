// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"sync"
)

// Scope releases the clients that were taken during a run.
type Scope struct {
	mu   sync.Mutex
	list []*Client
}

type scopeKey struct{}

// WithScope returns a context in which Get registers its clients with a new
// scope, and the scope. The harness calls it for every run.
func WithScope(ctx context.Context) (context.Context, *Scope) {
	s := &Scope{}
	return context.WithValue(ctx, scopeKey{}, s), s
}

// Release releases all clients of the scope.
func (s *Scope) Release() {
	if s == nil {
		return
	}
	s.mu.Lock()
	list := s.list
	s.list = nil
	s.mu.Unlock()
	for _, c := range list {
		c.Release()
	}
}

func (s *Scope) add(c *Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, c)
}

func scopeOf(ctx context.Context) *Scope {
	s, _ := ctx.Value(scopeKey{}).(*Scope)
	return s
}
