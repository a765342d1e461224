// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package hygiene_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/tools/internal/repo"
)

// source is one parsed Go file.
type source struct {
	name   string // slash-separated, from the root
	module string // folder of its module
	test   bool
	text   []byte
	ast    *ast.File
	fset   *token.FileSet
}

func (s source) dir() string { return path.Dir(s.name) }

// generated files are checked for freshness only.
func (s source) generated() bool { return ast.IsGenerated(s.ast) }

var load = sync.OnceValues(func() (tree, error) {
	root, err := repo.Root()
	if err != nil {
		return tree{}, err
	}
	t := tree{root: root}
	if t.folders, err = repo.GoMods(root); err != nil {
		return t, err
	}
	t.folders = slices.DeleteFunc(t.folders, func(f string) bool { return strings.Contains(f, "/testdata/") })
	names, err := repo.Files(root, ".go")
	if err != nil {
		return t, err
	}
	fset := token.NewFileSet()
	for _, n := range names {
		if strings.Contains(n, "/testdata/") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, n))
		if err != nil {
			return t, err
		}
		f, err := parser.ParseFile(fset, n, text, parser.ParseComments)
		if err != nil {
			return t, err
		}
		t.files = append(t.files, source{
			name: n, module: repo.Owner(t.folders, n), text: text, ast: f, fset: fset,
			test: strings.HasSuffix(n, "_test.go"),
		})
	}
	return t, nil
})

type tree struct {
	root    string
	folders []string
	files   []source
}

func loaded(t *testing.T) tree {
	t.Helper()
	tr, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// public reports whether a package directory is meant for others to import.
func (s source) public() bool {
	return !s.test && s.ast.Name.Name != "main" && !slices.Contains(strings.Split(s.dir(), "/"), "internal") &&
		!strings.HasPrefix(s.name, "controllers/") && !strings.HasPrefix(s.name, "tools/") &&
		!strings.HasPrefix(s.name, "examples/") && !strings.HasPrefix(s.name, "bench/") && s.module != "testserver/controlplane"
}

// supportCode is code that only tests run: suites, test servers, tools.
func (s source) supportCode() bool {
	if s.test || strings.HasPrefix(s.name, "testserver/") || strings.HasPrefix(s.name, "tools/") || strings.HasPrefix(s.name, "bench/") {
		return true
	}
	for part := range strings.SplitSeq(s.dir(), "/") {
		if strings.HasSuffix(part, "test") {
			return true
		}
	}
	return false
}
