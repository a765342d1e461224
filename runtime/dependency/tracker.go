// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dependency

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/gitops-kit/sdk/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// maxDepth is how far cycles are searched.
const maxDepth = 64

// Ref names an object.
type Ref struct {
	// Kind of the object.
	Kind string
	// Namespace of the object.
	Namespace string
	// Name of the object.
	Name string
}

// String returns "Kind/namespace/name".
func (r Ref) String() string { return r.Kind + "/" + r.Namespace + "/" + r.Name }

func compare(a, b Ref) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// State is what counts about a dependency.
type State struct {
	// Ready is the Ready condition.
	Ready bool
	// Generation and ObservedGeneration of the object.
	Generation, ObservedGeneration int64
	// Source identifies what the object is made from, "" when it has none.
	Source string
	// Revision of the source that the object has applied.
	Revision string
}

// Self is the object that waits.
type Self struct {
	// Ref names it.
	Ref Ref
	// Source identifies what it is made from.
	Source string
	// Revision of the source that it is about to apply.
	Revision string
}

// CycleError reports an object that waits for itself.
type CycleError struct {
	// Members of the cycle, starting and ending with the object.
	Members []Ref
}

// Error lists the members as "a → b → a".
func (e *CycleError) Error() string {
	names := make([]string, len(e.Members))
	for i, m := range e.Members {
		names[i] = m.String()
	}
	return "dependency cycle: " + strings.Join(names, " → ")
}

// Reason returns DependencyCycle.
func (e *CycleError) Reason() string { return meta.DependencyCycleReason }

// Terminal returns true: the members' specs are watched.
func (e *CycleError) Terminal() bool { return true }

// Options of a [Tracker].
type Options struct {
	// Read returns the state of an object, live. An absent one is an API error of
	// reason NotFound, or matches fs.ErrNotExist.
	Read func(ctx context.Context, r Ref) (State, error)
	// Synced, when set, tells whether the caches that feed the tracker are
	// complete; before, nothing is ready.
	Synced func() bool
}

// Tracker holds the graph. Use [New].
type Tracker struct {
	o Options

	mu       sync.RWMutex
	deps     map[Ref][]Ref
	users    map[Ref]map[Ref]struct{}
	deleting map[Ref]bool
}

// New returns an empty tracker.
func New(o Options) *Tracker {
	return &Tracker{o: o, deps: map[Ref][]Ref{}, users: map[Ref]map[Ref]struct{}{}, deleting: map[Ref]bool{}}
}

// Set reports the dependencies of an object, and whether it is being deleted. It
// returns the objects of cycles that the change made or broke: they must be
// looked at again.
func (t *Tracker) Set(self Ref, deps []Ref, deleting bool) (affected []Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, known := t.deps[self]
	if deleting {
		t.deleting[self] = true
	} else {
		delete(t.deleting, self)
	}
	if known && slices.Equal(old, deps) {
		return nil
	}
	before := t.cycle(self)
	t.unlink(self)
	t.deps[self] = slices.Clone(deps)
	for _, d := range deps {
		if t.users[d] == nil {
			t.users[d] = map[Ref]struct{}{}
		}
		t.users[d][self] = struct{}{}
	}
	return merge(self, before, t.cycle(self))
}

// Forget removes an object. It returns the members of a cycle that this broke.
func (t *Tracker) Forget(self Ref) (affected []Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.cycle(self)
	t.unlink(self)
	delete(t.deps, self)
	delete(t.deleting, self)
	return merge(self, before)
}

func (t *Tracker) unlink(self Ref) {
	for _, d := range t.deps[self] {
		delete(t.users[d], self)
		if len(t.users[d]) == 0 {
			delete(t.users, d)
		}
	}
}

// Cycle returns a [*CycleError] when self waits, directly or not, for itself.
func (t *Tracker) Cycle(self Ref) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if c := t.cycle(self); c != nil {
		return &CycleError{Members: c}
	}
	return nil
}

// cycle returns a shortest path from self back to self, nil when there is none.
func (t *Tracker) cycle(self Ref) []Ref {
	from := map[Ref]Ref{}
	level := []Ref{self}
	for range maxDepth {
		var next []Ref
		for _, r := range level {
			for _, d := range t.deps[r] {
				if d == self {
					path := []Ref{self}
					for x := r; x != self; x = from[x] {
						path = append(path, x)
					}
					path = append(path, self)
					slices.Reverse(path)
					return path
				}
				if _, seen := from[d]; !seen {
					from[d] = r
					next = append(next, d)
				}
			}
		}
		if level = next; len(level) == 0 {
			return nil
		}
	}
	return nil
}

// merge lists the members of cycles without self, sorted.
func merge(self Ref, cycles ...[]Ref) []Ref {
	var out []Ref
	for _, c := range cycles {
		for _, r := range c {
			if r != self && !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, compare)
	return out
}

// Dependents returns the objects that depend directly on ref, sorted.
func (t *Tracker) Dependents(ref Ref) []Ref {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]Ref, 0, len(t.users[ref]))
	for u := range t.users[ref] {
		out = append(out, u)
	}
	slices.SortFunc(out, compare)
	return out
}

// Deleting returns the direct dependents of ref that are being deleted: a
// teardown in reverse order waits for them.
func (t *Tracker) Deleting(ref Ref) []Ref {
	return slices.DeleteFunc(t.Dependents(ref), func(r Ref) bool {
		t.mu.RLock()
		defer t.mu.RUnlock()
		return !t.deleting[r]
	})
}

// Order sorts refs such that dependencies come before their dependents; members
// of cycles keep their relative order.
func (t *Tracker) Order(refs []Ref) []Ref {
	t.mu.RLock()
	defer t.mu.RUnlock()
	in := make(map[Ref]bool, len(refs))
	for _, r := range refs {
		in[r] = true
	}
	state := make(map[Ref]int, len(refs))
	out := make([]Ref, 0, len(refs))
	for _, r := range refs {
		t.visit(r, in, state, &out)
	}
	return out
}

// visit is an iterative depth-first search.
func (t *Tracker) visit(root Ref, in map[Ref]bool, state map[Ref]int, out *[]Ref) {
	stack := []Ref{root}
	for len(stack) > 0 {
		r := stack[len(stack)-1]
		switch state[r] {
		case 0:
			state[r] = 1
			for _, d := range t.deps[r] {
				if state[d] == 0 {
					stack = append(stack, d)
				}
			}
		case 1:
			state[r] = 2
			stack = stack[:len(stack)-1]
			if in[r] {
				*out = append(*out, r)
			}
		default:
			stack = stack[:len(stack)-1]
		}
	}
}

// Ready reports whether ref is ready for self: it exists, is Ready for its
// current generation, and, when it is made from the same source, has applied the
// revision that self is about to apply. why is the text for a condition.
func (t *Tracker) Ready(ctx context.Context, self Self, ref Ref) (ready bool, why string, err error) {
	name := ref.Namespace + "/" + ref.Name
	if t.o.Synced != nil && !t.o.Synced() {
		return false, fmt.Sprintf("dependency '%s' is not ready", name), nil
	}
	s, err := t.o.Read(ctx, ref)
	switch {
	case apierrors.IsNotFound(err) || errors.Is(err, fs.ErrNotExist):
		return false, fmt.Sprintf("dependency '%s' not found: %v", name, err), nil
	case err != nil:
		return false, "", fmt.Errorf("read dependency '%s': %w", name, err)
	case !s.Ready || s.Generation != s.ObservedGeneration:
		return false, fmt.Sprintf("dependency '%s' is not ready", name), nil
	case self.Source != "" && s.Source == self.Source && s.Revision != self.Revision:
		return false, fmt.Sprintf("dependency '%s' revision is not up to date", name), nil
	}
	return true, "", nil
}
