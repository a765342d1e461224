// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package release proves, before a tag exists, that a stranger can use every
// module: it publishes the tree as it would be tagged to a module proxy made
// of files and builds an empty consumer against each module.
package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"github.com/gitops-kit/sdk/tools/internal/modsync"
	"github.com/gitops-kit/sdk/tools/internal/repo"
)

// DryRun clones the repository at root, makes the release commit's tree,
// publishes it to files, and has a consumer of each module compile every
// public package. It reports progress through say and leaves nothing behind.
func DryRun(ctx context.Context, root string, say func(format string, args ...any)) error {
	dir, err := os.MkdirTemp("", "gitops-kit-release-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	clone, proxy := filepath.Join(dir, "clone"), filepath.Join(dir, "proxy")
	if err := run(ctx, dir, nil, "git", "clone", "--quiet", "--no-hardlinks", root, clone); err != nil {
		return err
	}
	if _, err := modsync.Sync(clone, modsync.Options{Write: true, Drop: true}); err != nil {
		return err
	}
	mods, err := repo.Modules(clone)
	if err != nil {
		return err
	}
	mods = slices.DeleteFunc(mods, func(m repo.Module) bool { return m.Version == "v0.0.0" })
	for _, m := range mods {
		if err := publish(clone, proxy, m); err != nil {
			return fmt.Errorf("publish %s: %w", m.Path, err)
		}
	}
	var errs []error
	for _, m := range mods {
		if !m.Workspace {
			continue // executed, not imported
		}
		n, err := consume(ctx, clone, filepath.Join(dir, "consumer"), proxy, m)
		if err != nil {
			errs = append(errs, fmt.Errorf("consumer of %s: %w", m.Path, err))
			say("no  %-12s %v", m.Path, err)
			continue
		}
		say("ok  %-12s %d packages compile in an empty module", m.Path, n)
	}
	return errors.Join(errs...)
}

// publish writes the files that a module proxy serves for one version.
func publish(clone, proxy string, m repo.Module) error {
	folder := filepath.Join(clone, filepath.FromSlash(m.Path))
	mod, err := repo.Parse(clone, m.Path)
	if err != nil {
		return err
	}
	for _, r := range mod.Replace {
		return fmt.Errorf("a replace of %s is left", r.Old.Path)
	}
	escaped, err := module.EscapePath(m.Name())
	if err != nil {
		return err
	}
	at := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	gomod, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := zip.CreateFromDir(&archive, module.Version{Path: m.Name(), Version: m.Version}, folder); err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"list": []byte(m.Version + "\n"), m.Version + ".mod": gomod, m.Version + ".zip": archive.Bytes(),
		m.Version + ".info": fmt.Appendf(nil, `{"Version":%q}`, m.Version),
	} {
		if err := os.WriteFile(filepath.Join(at, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// consume compiles every public package of m in a module that requires
// nothing else.
func consume(ctx context.Context, clone, dir, proxy string, m repo.Module) (int, error) {
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	packages, err := public(clone, m)
	if err != nil {
		return 0, err
	}
	var src strings.Builder
	src.WriteString("package consumer\n\nimport (\n")
	for _, p := range packages {
		fmt.Fprintf(&src, "\t_ %q\n", p)
	}
	src.WriteString(")\n")
	gomod := fmt.Sprintf("module consumer\n\ngo 1.26.6\n\nrequire %s %s\n", m.Name(), m.Version)
	for name, text := range map[string]string{"consumer.go": src.String(), "go.mod": gomod} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return 0, err
		}
	}
	next, err := exec.CommandContext(ctx, "go", "env", "GOPROXY").Output()
	if err != nil {
		return 0, err
	}
	cache := filepath.Join(filepath.Dir(dir), "modcache") // keeps our unreleased versions out of the user's
	env := []string{
		"GOWORK=off", "GOFLAGS=-mod=mod -modcacherw", "GONOSUMDB=" + repo.Prefix + "*", "GOMODCACHE=" + cache,
		"GOPROXY=file://" + filepath.ToSlash(proxy) + "," + strings.TrimSpace(string(next)),
	}
	for _, args := range [][]string{{"mod", "tidy"}, {"build", "./..."}, {"vet", "./..."}} {
		if err := run(ctx, dir, env, "go", args...); err != nil {
			return 0, err
		}
	}
	return len(packages), nil
}

// public lists the import paths of a module that are not internal and not a
// command.
func public(clone string, m repo.Module) ([]string, error) {
	folders, err := repo.GoMods(clone)
	if err != nil {
		return nil, err
	}
	files, err := repo.Files(clone, ".go")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range files {
		dir := filepath.ToSlash(filepath.Dir(f))
		if repo.Owner(folders, f) != m.Path || strings.HasSuffix(f, "_test.go") || slices.Contains(strings.Split(dir, "/"), "internal") || strings.Contains(f, "/testdata/") {
			continue
		}
		data, err := fs.ReadFile(os.DirFS(clone), f)
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(data, []byte("\npackage main\n")) {
			out = append(out, repo.Prefix+dir)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
