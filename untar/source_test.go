// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TAR-14, G1: nothing in this module syncs, logs, prints, starts a program or
// ends the process.
func TestSource(t *testing.T) {
	forbidden := []string{"log", "log/slog", "os/exec", "plugin", "unsafe", "testing", "archive/zip"}
	calls := []string{"Sync", "Fsync", "Fdatasync", "Print", "Println", "Printf", "Exit", "Background"}
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			strings.HasPrefix(path, filepath.Join("internal", "fail")) { // kills the process in builds for tests
			return err
		}
		files++
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			value := p == "log/slog" && strings.HasPrefix(path, filepath.Join("internal", "redact")) // the type of a redacted value
			if err != nil || slices.Contains(forbidden, p) && !value {
				t.Errorf("%s imports %s", path, i.Path.Value)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch fun := call.Fun.(type) {
			case *ast.SelectorExpr:
				if slices.Contains(calls, fun.Sel.Name) {
					t.Errorf("%s calls %s", set.Position(call.Pos()), fun.Sel.Name)
				}
			case *ast.Ident:
				if fun.Name == "print" || fun.Name == "println" || fun.Name == "panic" {
					t.Errorf("%s calls %s", set.Position(call.Pos()), fun.Name)
				}
			}
			return true
		})
		return nil
	})
	if err != nil || files < 30 {
		t.Fatalf("%d files: %v", files, err)
	}
}
