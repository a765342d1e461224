// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package trace connects the requirements of docs/spec with the tests that
// say they prove them.
package trace

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gitops-kit/sdk/tools/internal/repo"
)

// Page is one file of the specification.
type Page struct {
	Name string   // below docs/spec
	IDs  []string // requirement ids it defines, in order
}

var (
	bold  = regexp.MustCompile(`\*\*([A-Z]+-[A-Z]?\d+[a-z]?)\*\*`)
	row   = regexp.MustCompile(`(?m)^\| ([NFIC]\d+) \|`)
	named = regexp.MustCompile(`\b([A-Z]+-[A-Z]?|[NFC])(\d+)([a-z]?)(?:(?:…|\.\.\.|–)(?:[A-Z]+-)?(\d+))?`)
)

// Pages reads the specification.
func Pages(root string) ([]Page, error) {
	dir := filepath.Join(root, "docs", "spec")
	names, err := repo.Files(dir, ".md")
	if err != nil {
		return nil, err
	}
	var out []Page
	for _, n := range names {
		data, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil {
			return nil, err
		}
		p := Page{Name: n}
		for _, re := range []*regexp.Regexp{bold, row} {
			for _, m := range re.FindAllStringSubmatch(string(data), -1) {
				if !slices.Contains(p.IDs, m[1]) {
					p.IDs = append(p.IDs, m[1])
				}
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// Tests returns, for each requirement id, the test files that name it in a
// comment.
func Tests(root string) (map[string][]string, error) {
	names, err := repo.Files(root, ".go")
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, n := range names {
		if !strings.HasSuffix(n, "_test.go") && !strings.HasSuffix(filepath.Dir(n), "test") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, n), nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, g := range f.Comments {
			for _, id := range Named(g.Text()) {
				if !slices.Contains(out[id], n) {
					out[id] = append(out[id], n)
				}
			}
		}
	}
	return out, nil
}

// Named lists the ids that a comment names; ranges such as SSA-12…15 count as
// each of their members.
func Named(text string) []string {
	var out []string
	for _, m := range named.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1]+m[2]+m[3])
		from, _ := strconv.Atoi(m[2])
		to, err := strconv.Atoi(m[4])
		for i := from + 1; err == nil && i <= to && i-from < 100; i++ {
			out = append(out, fmt.Sprintf("%s%0*d", m[1], len(m[2]), i))
		}
	}
	return out
}
