// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package hygiene_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/tools/internal/repo"
)

func layers(t *testing.T, root string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "tools", "layers.txt"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		module, allowed, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("layers.txt: %q has no colon", line)
		}
		out[module] = strings.Fields(allowed)
	}
	return out
}

// Imports point down only: every import of one module of the repository by
// another is an edge of layers.txt.
func TestLayers(t *testing.T) {
	tr := loaded(t)
	allowed := layers(t, tr.root)
	for _, s := range tr.files {
		if strings.HasPrefix(s.name, "bench/") {
			continue // may import everything below, and is imported by nobody
		}
		edges, ok := allowed[s.module]
		if !ok {
			t.Errorf("%s: module %s has no line in layers.txt", s.name, s.module)
			continue
		}
		for _, i := range s.ast.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			rest, ours := strings.CutPrefix(p, repo.Prefix)
			if !ours {
				continue
			}
			target := repo.Owner(tr.folders, rest+"/")
			if target == s.module || slices.Contains(edges, target) || slices.Contains(edges, "*") {
				continue
			}
			if target == "testserver" && s.supportCode() || s.module == "controllers" && target == "testserver" && strings.HasPrefix(s.name, "controllers/e2e/") {
				continue
			}
			t.Errorf("%s imports %s: no edge %s → %s in layers.txt", s.name, p, s.module, target)
		}
	}
}

// Internal packages stay inside their module, although the compiler would
// let a nested module reach into its parent's.
func TestInternalStaysInside(t *testing.T) {
	tr := loaded(t)
	for _, s := range tr.files {
		for _, i := range s.ast.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			rest, ours := strings.CutPrefix(p, repo.Prefix)
			if ours && strings.Contains("/"+rest+"/", "/internal/") && repo.Owner(tr.folders, rest+"/") != s.module {
				t.Errorf("%s imports %s, an internal package of another module", s.name, p)
			}
		}
	}
}

// Production code imports no test framework, starts no process and knows no
// command-line framework.
func TestProductionImports(t *testing.T) {
	tr := loaded(t)
	forbidden := []string{
		"testing", "os/exec", "plugin", "archive/zip", "github.com/onsi/gomega", "github.com/onsi/ginkgo", "github.com/stretchr/testify",
		"github.com/spf13/cobra", "k8s.io/kubectl", "k8s.io/kubernetes", "golang.org/x/crypto/openpgp", "github.com/pkg/errors",
	}
	everywhere := []string{"github.com/stretchr/testify", "github.com/onsi/ginkgo", "github.com/pkg/errors", "golang.org/x/crypto/openpgp"}
	for _, s := range tr.files {
		deny := forbidden
		if s.supportCode() || s.module == "examples" || s.module == "testserver/controlplane" || strings.HasPrefix(s.name, "controllers/e2e/") {
			deny = everywhere
		}
		for _, i := range s.ast.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			for _, d := range deny {
				if p == d || strings.HasPrefix(p, d+"/") && d != "testing" {
					t.Errorf("%s imports %s, which does not belong into production code", s.name, p)
				}
			}
		}
	}
}

// Each go.mod names the one Go version, no toolchain, no exclude, and no
// replace but that of a sibling.
func TestGoMods(t *testing.T) {
	tr := loaded(t)
	for _, folder := range tr.folders {
		f, err := repo.Parse(tr.root, folder)
		if err != nil {
			t.Fatal(err)
		}
		name := folder + "/go.mod"
		if f.Module.Mod.Path != repo.Prefix+folder {
			t.Errorf("%s: module path is %s", name, f.Module.Mod.Path)
		}
		if f.Go == nil || f.Go.Version != "1.26.6" {
			t.Errorf("%s: the go line must be 1.26.6", name)
		}
		if f.Toolchain != nil || len(f.Exclude) > 0 {
			t.Errorf("%s: toolchain or exclude", name)
		}
		for _, r := range f.Replace {
			sibling := strings.HasPrefix(r.Old.Path, repo.Prefix) && strings.HasPrefix(r.New.Path, ".")
			if !sibling && !strings.HasPrefix(folder, "bench/") {
				t.Errorf("%s: replace of %s is not that of a sibling", name, r.Old.Path)
			}
		}
		for _, r := range f.Require {
			if strings.HasPrefix(r.Mod.Path, repo.Prefix) && strings.HasPrefix(r.Mod.Version, "v0.0.0-") {
				t.Errorf("%s: %s is required at a pseudo-version", name, r.Mod.Path)
			}
		}
	}
}
