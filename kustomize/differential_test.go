// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"flag"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitops-kit/sdk/kustomize"
)

// seeds is how many random trees the differential test builds.
var seeds = flag.Int("seeds", 250, "random trees to build with both engines")

// compareEngines builds a tree with both engines. It reports whether both built
// it and the indexed one covered it.
func compareEngines(t *testing.T, root fsys, dir string) (built, covered bool) {
	t.Helper()
	want, errWant := build(t, root, kustomize.Options{Dir: dir, Engine: kustomize.Krusty})
	got, errGot := build(t, root, kustomize.Options{Dir: dir, Engine: kustomize.Indexed})
	switch {
	case errWant != nil && errGot == nil:
		t.Fatalf("indexed builds what krusty refuses: %v", errWant)
	case errWant != nil:
		return false, false
	case errGot != nil:
		return true, false
	}
	if diff := cmp.Diff(text(t, want), text(t, got)); diff != "" {
		t.Fatalf("-krusty +indexed:\n%s", diff)
	}
	return true, true
}

// KZ-55, KZ-56: whatever the indexed engine builds is byte-equal.
func TestDifferentialRandom(t *testing.T) {
	built, covered := 0, 0
	for seed := range uint64(*seeds) {
		tree := newRandomTree(seed).build()
		ok := t.Run("", func(t *testing.T) {
			b, c := compareEngines(t, tree, "top")
			if b {
				built++
			}
			if c {
				covered++
			}
		})
		if !ok {
			for name, f := range tree {
				t.Logf("-- %s --\n%s", name, f.Data)
			}
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("built %d, covered %d", built, covered)
	if built < *seeds/5 || covered*10 < built*9 {
		t.Fatalf("built %d, covered only %d", built, covered)
	}
}
