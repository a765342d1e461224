// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package hygiene_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/tools/internal/deps"
	"github.com/gitops-kit/sdk/tools/internal/repo"
)

// MOD-10: deps.txt is current, and no package compiles more than its budget.
func TestDependencyBudgets(t *testing.T) {
	tr := loaded(t)
	changed, err := deps.Sync(t.Context(), tr.root, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(changed) > 0 {
		t.Errorf("run make generate; out of date: %s", strings.Join(changed, ", "))
	}
	budgets, err := deps.Budgets(tr.root)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range budgets {
		dir := strings.TrimSuffix(b.Package, "/...")
		if _, err := os.Stat(filepath.Join(tr.root, dir)); err != nil {
			t.Errorf("budgets.txt names %s, which does not exist", b.Package)
			continue
		}
		got, err := deps.Module(t.Context(), tr.root, repo.Owner(tr.folders, dir+"/"), repo.Prefix+b.Package)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-24s %3d of %3d", b.Package, len(got), b.Max)
		if len(got) > b.Max {
			t.Errorf("%s compiles %d third-party modules, more than %d: %s", b.Package, len(got), b.Max, strings.Join(got, " "))
		}
	}
}
