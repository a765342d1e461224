// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package modsync_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/tools/internal/modsync"
)

// tree writes a small repository: c needs b, b needs a.
func tree(t *testing.T, change map[string]string) string {
	t.Helper()
	const prefix = "github.com/gitops-kit/sdk/"
	files := map[string]string{
		"versions.yaml":             "modules:\n  - {path: a, version: v0.2.0, released: false, workspace: true}\n  - {path: b, version: v0.1.0, released: false, workspace: true}\n  - {path: c, version: v0.1.0, released: false, workspace: false}\n",
		"a/go.mod":                  "module " + prefix + "a\n\ngo 1.26.6\n",
		"b/go.mod":                  "module " + prefix + "b\n\ngo 1.26.6\n\nrequire " + prefix + "a v0.1.0\n",
		"c/go.mod":                  "module " + prefix + "c\n\ngo 1.26.6\n\nrequire " + prefix + "b v0.1.0\n",
		"tools/shared/fail/fail.go": "package fail // one\n",
		"a/internal/fail/fail.go":   "package fail // old\n",
	}
	maps.Copy(files, change)
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// MOD-1, MOD-2, MOD-4
func TestWriteThenCheck(t *testing.T) {
	root := tree(t, nil)
	changed, err := modsync.Sync(root, modsync.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a/internal/fail/fail.go", "b/go.mod", "c/go.mod", "go.work"}; !slices.Equal(changed, want) {
		t.Errorf("changed %q, want %q", changed, want)
	}
	if got := read(t, root, "b/go.mod"); strings.Contains(got, "v0.2.0") {
		t.Error("a comparison wrote")
	}
	if _, err := modsync.Sync(root, modsync.Options{Write: true}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"b/go.mod":                "github.com/gitops-kit/sdk/a v0.2.0",
		"c/go.mod":                "replace github.com/gitops-kit/sdk/a => ../a", // needed through b
		"go.work":                 "\t./a\n\t./b\n)",
		"a/internal/fail/fail.go": "one",
	} {
		if got := read(t, root, name); !strings.Contains(got, want) {
			t.Errorf("%s has no %q:\n%s", name, want, got)
		}
	}
	if changed, err := modsync.Sync(root, modsync.Options{}); err != nil || len(changed) > 0 {
		t.Errorf("not stable: %q, %v", changed, err)
	}
}

// MOD-1, MOD-6
func TestDropLeavesNoReplace(t *testing.T) {
	root := tree(t, nil)
	for _, o := range []modsync.Options{{Write: true}, {Write: true, Drop: true}} {
		if _, err := modsync.Sync(root, o); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a/go.mod", "b/go.mod", "c/go.mod"} {
		if got := read(t, root, name); strings.Contains(got, "replace") {
			t.Errorf("%s still has a replace:\n%s", name, got)
		}
	}
}

// MOD-5
func TestOneVersionOfAForeignModule(t *testing.T) {
	root := tree(t, map[string]string{
		"a/go.mod": "module github.com/gitops-kit/sdk/a\n\ngo 1.26.6\n\nrequire example.com/x v1.0.0\n",
		"b/go.mod": "module github.com/gitops-kit/sdk/b\n\ngo 1.26.6\n\nrequire example.com/x v1.1.0\n",
	})
	if _, err := modsync.Sync(root, modsync.Options{}); err == nil || !strings.Contains(err.Error(), "example.com/x") {
		t.Errorf("got %v", err)
	}
}

func TestForeignFileInACopy(t *testing.T) {
	root := tree(t, map[string]string{"a/internal/fail/extra.go": "package fail\n"})
	changed, err := modsync.Sync(root, modsync.Options{})
	if err != nil || !slices.ContainsFunc(changed, func(s string) bool { return strings.Contains(s, "extra.go") }) {
		t.Errorf("got %q, %v", changed, err)
	}
}
