// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssatest

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/gitops-kit/sdk/ssa/inventory"
	"github.com/google/go-cmp/cmp"
)

// StoreHarness makes the stores of [RunStore].
type StoreHarness struct {
	// New returns a store over empty storage of its own.
	New func(t testing.TB) inventory.Store
	// Reopen returns another store over the same storage, as a process does
	// that starts after a crash. nil: such tests are left out.
	Reopen func(t testing.TB, s inventory.Store) inventory.Store
	// Corrupt loses or damages what is stored, in ways numbered from 0, and
	// reports whether there is such a way. nil: the store has no parts.
	Corrupt func(t testing.TB, s inventory.Store, way int) bool
	// Large is the number of entries of the size test. 0: 1,000.
	Large int
}

// RunStore checks that a store keeps what inventory.Store promises.
func RunStore(t *testing.T, h StoreHarness) {
	t.Helper()
	t.Run("Empty", func(t *testing.T) { storeEmpty(t, h.New(t)) })
	t.Run("RoundTrip", func(t *testing.T) { storeRoundTrip(t, h, 3) })
	t.Run("Large", func(t *testing.T) {
		n := h.Large
		if n == 0 {
			n = 1000
		}
		storeRoundTrip(t, h, n)
	})
	t.Run("TwoWriters", func(t *testing.T) { storeTwoWriters(t, h.New(t)) })
	if h.Corrupt != nil {
		t.Run("Corrupt", func(t *testing.T) { storeCorrupt(t, h) })
	}
}

func sample(n, from int) inventory.Set {
	var s inventory.Set
	for i := range n {
		s.Add(inventory.Item{ID: inventory.ID{Namespace: "ns", Name: fmt.Sprintf("n_%d:x", i+from), Kind: "ConfigMap"}, Version: "v1"})
	}
	return s
}

func entries(s inventory.Set) map[string]string {
	out := maps.Collect(s.Entries())
	return out
}

func mustLoad(t *testing.T, s inventory.Store) (inventory.Set, string) {
	t.Helper()
	set, v, err := s.Load(t.Context())
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return set, v
}

func mustSave(t *testing.T, s inventory.Store, set inventory.Set, expected string) string {
	t.Helper()
	v, err := s.Save(t.Context(), set, expected)
	if err != nil {
		t.Fatalf("save: %v", err)
	}
	return v
}

func storeEmpty(t *testing.T, s inventory.Store) {
	set, v := mustLoad(t, s)
	if set.Len() != 0 || v != "" {
		t.Fatalf("a new store holds %d entries at version %q", set.Len(), v)
	}
}

func storeRoundTrip(t *testing.T, h StoreHarness, n int) {
	s := h.New(t)
	v := ""
	for round, want := range []inventory.Set{sample(n, 0), sample(n, n/2), {}} {
		next := mustSave(t, s, want, v)
		if next == v {
			t.Fatalf("round %d: the version stays %q", round, v)
		}
		v = next
		stores := []inventory.Store{s}
		if h.Reopen != nil {
			stores = append(stores, h.Reopen(t, s))
		}
		for _, st := range stores {
			got, version := mustLoad(t, st)
			if d := cmp.Diff(entries(want), entries(got)); d != "" {
				t.Fatalf("round %d (-want +got):\n%s", round, d)
			}
			if version != v {
				t.Fatalf("round %d: version is %q, want %q", round, version, v)
			}
		}
	}
}

func storeTwoWriters(t *testing.T, s inventory.Store) {
	first := mustSave(t, s, sample(2, 0), "")
	second := mustSave(t, s, sample(3, 0), first)
	for _, expected := range []string{"", first} {
		if _, err := s.Save(t.Context(), sample(1, 9), expected); !errors.Is(err, inventory.ErrConflict) {
			t.Fatalf("save at version %q: got %v, want a conflict", expected, err)
		}
	}
	got, v := mustLoad(t, s)
	if d := cmp.Diff(entries(sample(3, 0)), entries(got)); d != "" || v != second {
		t.Fatalf("the loser wrote (-want +got):\n%s", d)
	}
}

func storeCorrupt(t *testing.T, h StoreHarness) {
	for way := 0; ; way++ {
		s := h.New(t)
		v := mustSave(t, s, sample(10, 0), "")
		if !h.Corrupt(t, s, way) {
			return
		}
		set, version, err := s.Load(t.Context())
		if !errors.Is(err, inventory.ErrCorrupt) || set.Len() != 0 {
			t.Fatalf("way %d: got %d entries and %v, want a corrupt inventory", way, set.Len(), err)
		}
		if version != "" {
			v = version // whoever damaged it made another version
		}
		mustSave(t, s, sample(10, 0), v)
		if got, _ := mustLoad(t, s); got.Len() != 10 {
			t.Fatalf("way %d: not healed by a save", way)
		}
	}
}
