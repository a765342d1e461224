// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"fmt"
	"sync"
)

// Ledger is the write-ahead record of one set of objects. Every object that
// may exist because of a run is stored before the run's first write, so that
// a crash at any point leaves nothing unaccounted for.
type Ledger struct {
	store Store

	mu      sync.Mutex
	loaded  bool
	set     Set
	version string
}

// NewLedger returns a ledger over store. It reads on first use.
func NewLedger(store Store) *Ledger { return &Ledger{store: store} }

// Load reads the stored set, once; later calls return nil at once.
func (l *Ledger) Load(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.load(ctx)
}

func (l *Ledger) load(ctx context.Context) error {
	if l.loaded {
		return nil
	}
	s, v, err := l.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("load inventory: %w", err)
	}
	l.set, l.version, l.loaded = s, v, true
	return nil
}

// Set returns what is stored, as of the last call; empty before the first.
func (l *Ledger) Set() Set {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.set.Clone()
}

// Begin stores the union of what is stored and intended, unless intended
// adds nothing. After an error nothing may be written to the cluster.
func (l *Ledger) Begin(ctx context.Context, intended Set) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.load(ctx); err != nil {
		return err
	}
	if l.set.ContainsAll(intended) {
		return nil
	}
	next := l.set.Clone()
	for it := range intended.Items() {
		if !next.Contains(it.ID) {
			next.Add(it)
		}
	}
	return l.save(ctx, next)
}

// Commit stores the outcome: the present objects in their order, then what is
// stored already and not gone. An unchanged outcome is not written.
func (l *Ledger) Commit(ctx context.Context, present, gone Set) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.load(ctx); err != nil {
		return err
	}
	next := present.Clone()
	for it := range l.set.Items() {
		switch have, ok := next.Item(it.ID); {
		case ok && have.UID == "" && it.UID != "" && have.Version == it.Version:
			next.Add(it)
		case !ok && !gone.Contains(it.ID):
			next.Add(it)
		}
	}
	if l.version != "" && sameOrder(next, l.set) {
		return nil
	}
	return l.save(ctx, next)
}

func (l *Ledger) save(ctx context.Context, s Set) error {
	v, err := l.store.Save(ctx, s, l.version)
	if err != nil {
		l.loaded = false // whatever is stored now must be read again
		return fmt.Errorf("save inventory: %w", err)
	}
	l.set, l.version = s, v
	return nil
}

func sameOrder(a, b Set) bool {
	if a.Len() != b.Len() {
		return false
	}
	for i := range a.items {
		if a.items[i] != b.items[i] {
			return false
		}
	}
	return true
}
