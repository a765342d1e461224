// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package snippets keeps the Go code in Markdown pages equal to code that is
// compiled. A block is bound to a function by a comment before it:
//
//	<!-- example: path/of/file_test.go ExampleName -->
//
// The path is relative to the page. The block becomes the function's body
// without its output comment; with the name "*" it becomes the whole file
// without its licence header.
package snippets

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/gitops-kit/sdk/tools/internal/repo"
)

var block = regexp.MustCompile("(?s)(<!-- example: (\\S+) (\\S+) -->\n+```go\n)(.*?)(```)")

// Sync returns the pages below root whose blocks are out of date, having
// rewritten them if asked to.
func Sync(root string, write bool) ([]string, error) {
	names, err := repo.Files(root, ".md")
	if err != nil {
		return nil, err
	}
	var changed []string
	for _, name := range names {
		file := filepath.Join(root, name)
		old, err := os.ReadFile(file)
		if err != nil {
			return changed, err
		}
		text, err := Page(filepath.Dir(file), old)
		if err != nil {
			return changed, fmt.Errorf("%s: %w", name, err)
		}
		if bytes.Equal(old, text) {
			continue
		}
		changed = append(changed, name)
		if write {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				return changed, err
			}
		}
	}
	return changed, nil
}

// Page returns the page with every bound block brought up to date; dir is
// where it lies.
func Page(dir string, page []byte) ([]byte, error) {
	var failed error
	out := block.ReplaceAllFunc(page, func(m []byte) []byte {
		parts := block.FindSubmatch(m)
		body, err := Code(filepath.Join(dir, string(parts[2])), string(parts[3]))
		if err != nil {
			failed = err
			return m
		}
		return bytes.Join([][]byte{parts[1], []byte(body), parts[5]}, nil)
	})
	return out, failed
}

// Code is the text that a block bound to a function of a file holds.
func Code(file, function string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, text, parser.ParseComments)
	if err != nil {
		return "", err
	}
	if function == "*" {
		return string(text[fset.Position(parsed.Package).Offset:]), nil
	}
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != function {
			continue
		}
		body := string(text[fset.Position(f.Body.Lbrace).Offset+1 : fset.Position(f.Body.Rbrace).Offset])
		if i := strings.Index(body, "\t// Output:"); i >= 0 {
			body = body[:i]
		}
		body = strings.Trim(strings.ReplaceAll("\n"+body, "\n\t", "\n"), "\n")
		return strings.TrimRight(body, "\n") + "\n", nil
	}
	return "", fmt.Errorf("%s has no function %s", file, function)
}
