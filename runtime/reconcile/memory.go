// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"sync"
	"time"

	"github.com/gitops-kit/sdk/runtime/events"
	"k8s.io/apimachinery/pkg/types"
)

const (
	tokenBurst  = 5
	tokenEvery  = time.Second
	staleTries  = 3
	staleFirst  = 50 * time.Millisecond
	maxReplaced = 8
)

// memory is what the harness remembers about objects between runs.
type memory struct {
	min, max time.Duration

	mu      sync.Mutex
	objects map[types.NamespacedName]*remembered
	said    map[string]bool
}

type remembered struct {
	// retries of one generation and token.
	failures   int
	generation int64
	token      string

	// replaced are versions that our own writes superseded.
	replaced []string
	waits    int

	// bucket of token-triggered runs.
	tokens float64
	filled time.Time
	taken  string

	lastFlush time.Time

	held           []events.Event
	heldGeneration int64
	heldToken      string
}

func newMemory(lo, hi time.Duration) *memory {
	return &memory{min: lo, max: hi, objects: map[types.NamespacedName]*remembered{}, said: map[string]bool{}}
}

// of returns the entry of an object; the caller holds the lock.
func (m *memory) of(key types.NamespacedName) *remembered {
	r := m.objects[key]
	if r == nil {
		r = &remembered{tokens: tokenBurst}
		m.objects[key] = r
	}
	return r
}

func (m *memory) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
}

// backoff returns the delay before the next retry and counts the failure. A new
// generation or token starts from the beginning.
func (m *memory) backoff(key types.NamespacedName, generation int64, token string) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(key)
	if r.generation != generation || r.token != token {
		r.generation, r.token, r.failures = generation, token, 0
	}
	d := m.min
	for range r.failures {
		if d >= m.max/2 {
			d = m.max
			break
		}
		d *= 2
	}
	r.failures++
	return min(d, m.max)
}

func (m *memory) reset(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.objects[key]; r != nil {
		r.failures = 0
	}
}

// wrote remembers that a write of ours superseded a version.
func (m *memory) wrote(key types.NamespacedName, version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(key)
	if len(r.replaced) == maxReplaced {
		r.replaced = append(r.replaced[:0], r.replaced[1:]...)
	}
	r.replaced = append(r.replaced, version)
}

// stale reports how long to wait because version is one that we superseded, or
// that the object must be read live after three waits.
func (m *memory) stale(key types.NamespacedName, version string) (delay time.Duration, live bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.objects[key]
	if r == nil {
		return 0, false
	}
	for _, v := range r.replaced {
		if v != version {
			continue
		}
		if r.waits == staleTries {
			r.waits = 0
			return 0, true
		}
		r.waits++
		return staleFirst << (r.waits - 1), false
	}
	r.waits, r.replaced = 0, nil
	return 0, false
}

// take takes a run triggered by token out of the object's bucket and returns how
// long to wait when it is empty. The same token is taken once.
func (m *memory) take(key types.NamespacedName, token string, now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(key)
	if r.taken == token {
		return 0
	}
	if !r.filled.IsZero() {
		r.tokens = min(tokenBurst, r.tokens+float64(now.Sub(r.filled))/float64(tokenEvery))
	}
	r.filled = now
	if r.tokens < 1 {
		return time.Duration((1 - r.tokens) * float64(tokenEvery))
	}
	r.tokens--
	r.taken = token
	return 0
}

func (m *memory) flushDue(key types.NamespacedName, every time.Duration, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(key)
	if r.lastFlush.IsZero() {
		r.lastFlush = now
	}
	return every <= 0 || now.Sub(r.lastFlush) >= every
}

func (m *memory) flushed(key types.NamespacedName, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(key).lastFlush = now
}

// hold keeps the events of a run whose status could not be written.
func (m *memory) hold(key types.NamespacedName, generation int64, token string, list []events.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(key)
	if r.heldGeneration != generation || r.heldToken != token {
		r.held = nil
	}
	r.held, r.heldGeneration, r.heldToken = list, generation, token
}

// held returns and forgets the events that were held for the same generation
// and token; others are dropped.
func (m *memory) held(key types.NamespacedName, generation int64, token string) []events.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.objects[key]
	if r == nil || r.held == nil {
		return nil
	}
	list := r.held
	r.held = nil
	if r.heldGeneration != generation || r.heldToken != token {
		return nil
	}
	return list
}

func (m *memory) drop(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.objects[key]; r != nil {
		r.held = nil
	}
}

// once reports whether text is said for the first time.
func (m *memory) once(text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.said[text] {
		return false
	}
	m.said[text] = true
	return true
}
