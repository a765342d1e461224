// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package hygiene_test

import (
	"bytes"
	"go/ast"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/tools/internal/modsync"
	"github.com/gitops-kit/sdk/tools/internal/repo"
	"github.com/gitops-kit/sdk/tools/internal/snippets"
)

const header = "// Copyright The gitops-kit Authors.\n// SPDX-License-Identifier: Apache-2.0\n"

// Files are at most 500 lines, tests 1,000, functions 80.
func TestSizes(t *testing.T) {
	for _, s := range loaded(t).files {
		if s.generated() {
			continue
		}
		lines, limit := bytes.Count(s.text, []byte("\n")), 500
		if s.test {
			limit = 1000
		}
		if lines > limit {
			t.Errorf("%s has %d lines, more than %d", s.name, lines, limit)
		}
		for _, d := range s.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || s.test {
				continue
			}
			if n := s.fset.Position(fn.End()).Line - s.fset.Position(fn.Pos()).Line + 1; n > 80 {
				t.Errorf("%s: %s has %d lines, more than 80", s.name, fn.Name.Name, n)
			}
		}
	}
}

func TestLicenceHeaders(t *testing.T) {
	for _, s := range loaded(t).files {
		if !s.generated() && !bytes.Contains(s.text[:min(len(s.text), 300)], []byte(header)) {
			t.Errorf("%s: no licence header", s.name)
		}
	}
}

// Every public package says in doc.go what it is, and shows it in an example
// that runs offline and checks its output.
func TestPackageDocs(t *testing.T) {
	tr := loaded(t)
	docs, examples, public := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, s := range tr.files {
		if s.public() && len(s.ast.Decls) > 0 { // a folder may hold nothing but the comment that ties its packages together
			public[s.dir()] = true
		}
		if s.ast.Doc != nil && strings.HasPrefix(s.ast.Doc.Text(), "Package "+s.ast.Name.Name) && filepath.Base(s.name) == "doc.go" {
			docs[s.dir()] = true
		}
		if s.test && bytes.Contains(s.text, []byte("\nfunc Example")) && bytes.Contains(s.text, []byte("// Output:")) {
			examples[s.dir()] = true
		}
	}
	n := 0
	for dir := range public {
		if !docs[dir] {
			t.Errorf("%s: no doc.go with a package comment", dir)
		}
		if examples[dir] {
			n++
		} else if !strings.HasPrefix(dir, "apis/") && !strings.HasSuffix(dir, "/driver") && !strings.HasSuffix(dir, "test") {
			t.Errorf("%s: no Example with an Output comment", dir)
		}
	}
	t.Logf("%d of %d public packages have an example that runs", n, len(public))
}

// Every package says what it is for, also the internal ones.
func TestEveryPackageHasAComment(t *testing.T) {
	has, all := map[string]bool{}, map[string]bool{}
	for _, s := range loaded(t).files {
		if s.test || s.generated() {
			continue
		}
		all[s.dir()] = true
		if s.ast.Doc != nil {
			has[s.dir()] = true
		}
	}
	for dir := range all {
		if !has[dir] {
			t.Errorf("%s: no package comment", dir)
		}
	}
}

// The project speaks of itself alone: no path of one machine, no host of a
// package registry.
func TestNoForeignPlaces(t *testing.T) {
	tr := loaded(t)
	deny := regexp.MustCompile(`(^|[^\w.])/(work|root|farm)/|\.library\b|proxy\.` + `golang\.org|sum\.` + `golang\.org|registry\.` + `npmjs|deb\.` + `debian\.org`)
	out, err := exec.CommandContext(t.Context(), "git", "-C", tr.root, "ls-files", "-z").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(tr.root, name))
		if err != nil || bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 || strings.HasSuffix(name, "hygiene/files_test.go") {
			continue
		}
		for i, line := range strings.Split(string(data), "\n") {
			if m := deny.FindString(line); m != "" {
				t.Errorf("%s:%d: %q", name, i+1, m)
			}
		}
	}
}

func TestNothingLeftUndone(t *testing.T) {
	deny := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	for _, s := range loaded(t).files {
		for _, g := range s.ast.Comments {
			if m := deny.FindString(g.Text()); m != "" {
				t.Errorf("%s: %s without an issue", s.fset.Position(g.Pos()), m)
			}
		}
	}
}

// No test sleeps: it waits for a condition.
func TestNoSleeps(t *testing.T) {
	for _, s := range loaded(t).files {
		if !s.test {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
				if id, ok := sel.X.(*ast.Ident); ok && id.Name == "time" && !bytes.Contains(s.text, []byte("testing/synctest")) {
					t.Errorf("%s: time.Sleep in a test", s.fset.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

// versions.yaml names exactly the modules of the tree; benches are outside.
func TestVersionsComplete(t *testing.T) {
	tr := loaded(t)
	mods, err := repo.Modules(tr.root)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range mods {
		listed = append(listed, m.Path)
		if !slices.Contains(tr.folders, m.Path) {
			t.Errorf("versions.yaml lists %s, which has no go.mod", m.Path)
		}
		if _, err := os.Stat(filepath.Join(tr.root, m.Path, "README.md")); err != nil {
			t.Errorf("%s: no README.md", m.Path)
		}
	}
	for _, f := range tr.folders {
		if !slices.Contains(listed, f) && !strings.HasPrefix(f, "bench") {
			t.Errorf("%s has a go.mod and no line in versions.yaml", f)
		}
	}
}

// go.work, the sibling requires and replaces, and the shared copies are what
// modsync would write.
func TestModulesInSync(t *testing.T) {
	tr := loaded(t)
	changed, err := modsync.Sync(tr.root, modsync.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(changed) > 0 {
		t.Errorf("run make modules; out of date: %s", strings.Join(changed, ", "))
	}
}

func TestMakefileIsShort(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(loaded(t).root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(data, []byte("\n")); n > 150 {
		t.Errorf("Makefile has %d lines, more than 150: logic belongs into tools", n)
	}
}

// A code block of a page that names an example is a copy of its body.
func TestSnippets(t *testing.T) {
	changed, err := snippets.Sync(loaded(t).root, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(changed) > 0 {
		t.Errorf("run make generate; out of date: %s", strings.Join(changed, ", "))
	}
}
