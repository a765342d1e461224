// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
)

// ErrConflict reports that the stored inventory is not the expected version.
var ErrConflict = errors.New("inventory was changed by another writer")

// Store keeps one inventory with optimistic concurrency. Implementations must
// be safe for concurrent use and must store a Set completely or not at all.
// The interface does not grow; optional abilities become interfaces of their
// own. ssatest.RunStore is the conformance suite.
type Store interface {
	// Load returns the stored set and its version; an empty set and an empty
	// version when nothing was stored yet.
	Load(ctx context.Context) (Set, string, error)
	// Save replaces what is stored if its version is expected, and returns
	// the new version; otherwise [ErrConflict].
	Save(ctx context.Context, s Set, expected string) (string, error)
}

// StoreFuncs makes a Store of two functions, for callers that keep entries in
// a place of their own, such as an object's status.
type StoreFuncs struct {
	LoadFunc func(ctx context.Context) (Set, string, error)
	SaveFunc func(ctx context.Context, s Set, expected string) (string, error)
}

var _ Store = StoreFuncs{}

// Load calls LoadFunc; nil loads an empty set.
func (f StoreFuncs) Load(ctx context.Context) (Set, string, error) {
	if f.LoadFunc == nil {
		return Set{}, "", nil
	}
	return f.LoadFunc(ctx)
}

// Save calls SaveFunc; nil keeps nothing.
func (f StoreFuncs) Save(ctx context.Context, s Set, expected string) (string, error) {
	if f.SaveFunc == nil {
		return expected, nil
	}
	return f.SaveFunc(ctx, s, expected)
}

// Memory is a Store in memory. The zero value is empty and ready to use.
type Memory struct {
	mu      sync.Mutex
	set     Set
	version int
}

var _ Store = (*Memory)(nil)

// NewMemory returns a store that holds s.
func NewMemory(s Set) *Memory { return &Memory{set: s.Clone(), version: 1} }

// Load implements [Store].
func (m *Memory) Load(ctx context.Context) (Set, string, error) {
	if err := ctx.Err(); err != nil {
		return Set{}, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.set.Clone(), m.current(), nil
}

// Save implements [Store].
func (m *Memory) Save(ctx context.Context, s Set, expected string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if expected != m.current() {
		return "", fmt.Errorf("save inventory: version is %q, expected %q: %w", m.current(), expected, ErrConflict)
	}
	m.set = s.Clone()
	m.version++
	return m.current(), nil
}

func (m *Memory) current() string {
	if m.version == 0 {
		return ""
	}
	return strconv.Itoa(m.version)
}
