// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deps lists the modules that production code compiles and compares
// their number with the budget of each package.
package deps

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gitops-kit/sdk/tools/internal/repo"
)

// File is the name of the list beside each go.mod.
const File = "deps.txt"

// Module returns the third-party modules compiled by the packages that match
// patterns in the module at folder, suites excluded, sorted. Modules of this
// repository are left out.
func Module(ctx context.Context, root, folder string, patterns ...string) ([]string, error) {
	if len(patterns) == 0 {
		var err error
		if patterns, err = production(ctx, root, folder); err != nil || len(patterns) == 0 {
			return nil, err
		}
	}
	out, err := list(ctx, root, folder, append([]string{"-deps", "-f", "{{with .Module}}{{.Path}}{{end}}"}, patterns...))
	if err != nil {
		return nil, err
	}
	out = slices.DeleteFunc(out, func(m string) bool { return strings.HasPrefix(m, repo.Prefix) })
	slices.Sort(out)
	return slices.Compact(out), nil
}

// production lists the packages of a module that others compile in
// production: no conformance suites, no commands that only tests run.
func production(ctx context.Context, root, folder string) ([]string, error) {
	pkgs, err := list(ctx, root, folder, []string{"-f", "{{if .GoFiles}}{{.ImportPath}}{{end}}", "./..."})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(pkgs, func(p string) bool {
		rest := strings.TrimPrefix(p, repo.Prefix+folder)
		for part := range strings.SplitSeq(rest, "/") {
			if strings.HasSuffix(part, "test") {
				return true
			}
		}
		return false
	}), nil
}

func list(ctx context.Context, root, folder string, args []string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list"}, args...)...)
	cmd.Dir = filepath.Join(root, folder)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages of %s: %w: %s", folder, err, stderr.String())
	}
	return strings.Fields(string(out)), nil
}

// Sync returns the deps.txt files that are out of date, having written them
// if asked to.
func Sync(ctx context.Context, root string, write bool) ([]string, error) {
	mods, err := repo.Modules(root)
	if err != nil {
		return nil, err
	}
	var changed []string
	for _, m := range mods {
		if m.Version == "v0.0.0" || !m.Workspace {
			continue // nobody requires it
		}
		got, err := Module(ctx, root, m.Path)
		if err != nil {
			return changed, err
		}
		want := []byte("# Third-party modules that production code of this module compiles. Written by: make generate\n")
		for _, d := range got {
			want = append(want, d+"\n"...)
		}
		name := path.Join(m.Path, File)
		old, err := os.ReadFile(filepath.Join(root, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return changed, err
		}
		if bytes.Equal(old, want) {
			continue
		}
		changed = append(changed, name)
		if write {
			if err := os.WriteFile(filepath.Join(root, name), want, 0o644); err != nil {
				return changed, err
			}
		}
	}
	return changed, nil
}

// Budget is the most third-party modules a package may compile.
type Budget struct {
	Package string
	Max     int
}

// Budgets reads tools/budgets.txt: lines "package max".
func Budgets(root string) ([]Budget, error) {
	data, err := os.ReadFile(filepath.Join(root, "tools", "budgets.txt"))
	if err != nil {
		return nil, err
	}
	var out []Budget
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) != 2 || strings.HasPrefix(f[0], "#") {
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return nil, fmt.Errorf("budgets.txt: %q: %w", sc.Text(), err)
		}
		out = append(out, Budget{Package: f[0], Max: n})
	}
	return out, sc.Err()
}
