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
	// Crash returns another store over the storage of s, in a process that
	// ends around its n-th operation on the storage, counted from 0: right
	// before it, or right after it when done. crashed reports whether it came
	// to that. nil: such tests are left out; they need Reopen.
	Crash func(t testing.TB, s inventory.Store, n int, done bool) (st inventory.Store, crashed func() bool)
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
	if h.Crash != nil && h.Reopen != nil {
		t.Run("Crash", func(t *testing.T) { storeCrash(t, h) })
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

// storeCrash ends the process around every operation of a save: afterwards
// the old set or the new one is there, whole, and can be replaced.
func storeCrash(t *testing.T, h StoreHarness) {
	for _, before := range []inventory.Set{{}, sample(10, 0)} {
		for _, done := range []bool{false, true} {
			for n := 0; crashAt(t, h, before, n, done); n++ {
				if n == 100 {
					t.Fatal("a save takes more than 100 operations")
				}
			}
		}
	}
}

func crashAt(t *testing.T, h StoreHarness, before inventory.Set, n int, done bool) bool {
	t.Helper()
	s, v := h.New(t), ""
	if before.Len() > 0 {
		v = mustSave(t, s, before, "")
	}
	after := sample(10, 5)
	st, crashed := h.Crash(t, s, n, done)
	_, err := st.Save(t.Context(), after, v)
	again := h.Reopen(t, s)
	got, version := mustLoad(t, again)
	old, fresh := cmp.Diff(entries(before), entries(got)), cmp.Diff(entries(after), entries(got))
	if fresh != "" && (err == nil || old != "") {
		t.Fatalf("crash at %d (done %t), save: %v; neither the old set nor the new one (-want +got):\n%s", n, done, err, fresh)
	}
	mustSave(t, again, sample(3, 0), version)
	if got, _ := mustLoad(t, h.Reopen(t, s)); cmp.Diff(entries(sample(3, 0)), entries(got)) != "" {
		t.Fatalf("crash at %d (done %t): not replaced by a later save", n, done)
	}
	return crashed()
}
