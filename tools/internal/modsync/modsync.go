// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package modsync computes the generated parts of the module layout.
package modsync

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/gitops-kit/sdk/tools/internal/repo"
)

// Options say what to do. The zero value compares only.
type Options struct {
	Write    bool // write the differences
	Drop     bool // no sibling replaces, for a release commit
	BumpOnly bool // touch nothing but the versions that siblings require
}

// Sync returns the files that differ from what they should be, having written
// them if asked to.
func Sync(root string, o Options) ([]string, error) {
	mods, err := repo.Modules(root)
	if err != nil {
		return nil, err
	}
	s := &syncer{root: root, o: o, versions: map[string]string{}, files: map[string]*modfile.File{}}
	for _, m := range mods {
		s.versions[m.Name()] = m.Version
	}
	folders, err := repo.GoMods(root)
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		if s.files[repo.Prefix+f], err = repo.Parse(root, f); err != nil {
			return nil, err
		}
	}
	for _, f := range folders {
		if err := s.module(f); err != nil {
			return nil, err
		}
	}
	if !o.BumpOnly {
		err = errors.Join(s.shared(folders), s.goWork(mods), s.oneVersion(folders))
	}
	slices.Sort(s.changed)
	return s.changed, err
}

type syncer struct {
	root     string
	o        Options
	versions map[string]string
	files    map[string]*modfile.File
	changed  []string
}

// siblings returns the modules of this repository that name needs, directly or
// through another one.
func (s *syncer) siblings(name string, seen map[string]bool) {
	f := s.files[name]
	if f == nil {
		return
	}
	for _, r := range f.Require {
		if strings.HasPrefix(r.Mod.Path, repo.Prefix) && !seen[r.Mod.Path] {
			seen[r.Mod.Path] = true
			s.siblings(r.Mod.Path, seen)
		}
	}
}

func (s *syncer) module(folder string) error {
	f := s.files[repo.Prefix+folder]
	needed := map[string]bool{}
	s.siblings(repo.Prefix+folder, needed)
	delete(needed, repo.Prefix+folder)
	for _, r := range f.Require {
		if v := s.versions[r.Mod.Path]; v != "" && v != r.Mod.Version {
			if err := f.AddRequire(r.Mod.Path, v); err != nil {
				return err
			}
		}
	}
	if !s.o.BumpOnly {
		if err := s.replaces(f, folder, needed); err != nil {
			return err
		}
	}
	f.Cleanup()
	out, err := f.Format()
	if err != nil {
		return err
	}
	return s.put(path.Join(folder, "go.mod"), out)
}

func (s *syncer) replaces(f *modfile.File, folder string, needed map[string]bool) error {
	for _, r := range slices.Clone(f.Replace) {
		if strings.HasPrefix(r.Old.Path, repo.Prefix) && (s.o.Drop || !needed[r.Old.Path] || r.New.Path != relative(folder, r.Old.Path)) {
			if err := f.DropReplace(r.Old.Path, r.Old.Version); err != nil {
				return err
			}
		}
	}
	if s.o.Drop {
		return nil
	}
	for _, name := range slices.Sorted(keys(needed)) {
		if s.files[name] == nil {
			return fmt.Errorf("%s/go.mod requires %s, which is not in the tree", folder, name)
		}
		if err := f.AddReplace(name, "", relative(folder, name), ""); err != nil {
			return err
		}
	}
	return nil
}

func relative(folder, name string) string {
	rel, err := filepath.Rel(folder, strings.TrimPrefix(name, repo.Prefix))
	if err != nil {
		return name
	}
	rel = filepath.ToSlash(rel)
	if !strings.HasPrefix(rel, ".") {
		rel = "./" + rel
	}
	return rel
}

func (s *syncer) goWork(mods []repo.Module) error {
	var b strings.Builder
	b.WriteString("// Written by modsync from versions.yaml.\n\ngo 1.26.6\n\nuse (\n")
	for _, m := range mods {
		if m.Workspace {
			fmt.Fprintf(&b, "\t./%s\n", m.Path)
		}
	}
	b.WriteString(")\n")
	return s.put("go.work", []byte(b.String()))
}

// shared brings every copy of tools/shared/<name> below <module>/internal up
// to date. A module opts in by having the folder.
func (s *syncer) shared(folders []string) error {
	names, err := os.ReadDir(filepath.Join(s.root, "tools", "shared"))
	if err != nil {
		return err
	}
	for _, n := range names {
		for _, f := range folders {
			if err := s.copyShared(n.Name(), f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *syncer) copyShared(name, folder string) error {
	dst := path.Join(folder, "internal", name)
	have, err := os.ReadDir(filepath.Join(s.root, dst))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	src := filepath.Join(s.root, "tools", "shared", name)
	want, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, w := range want {
		if strings.HasSuffix(w.Name(), "_test.go") {
			continue // tested once, where it lives
		}
		keep[w.Name()] = true
		data, err := os.ReadFile(filepath.Join(src, w.Name()))
		if err != nil {
			return err
		}
		if err := s.put(path.Join(dst, w.Name()), data); err != nil {
			return err
		}
	}
	for _, h := range have {
		if !keep[h.Name()] {
			s.changed = append(s.changed, path.Join(dst, h.Name())+" (foreign file in a shared copy)")
		}
	}
	return nil
}

// oneVersion refuses two modules that name different versions of one direct
// dependency. Modules outside the workspace are exempt: their build lists are
// their own.
func (s *syncer) oneVersion(folders []string) error {
	type use struct{ version, folder string }
	first := map[string]use{}
	var errs []error
	for _, f := range folders {
		if s.versions[repo.Prefix+f] == "" || f == "testserver/controlplane" {
			continue
		}
		for _, r := range s.files[repo.Prefix+f].Require {
			if r.Indirect {
				continue
			}
			was, ok := first[r.Mod.Path]
			if !ok {
				first[r.Mod.Path] = use{r.Mod.Version, f}
			} else if was.version != r.Mod.Version {
				errs = append(errs, fmt.Errorf("%s: %s in %s, %s in %s", r.Mod.Path, was.version, was.folder, r.Mod.Version, f))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *syncer) put(name string, data []byte) error {
	file := filepath.Join(s.root, filepath.FromSlash(name))
	old, err := os.ReadFile(file)
	if err == nil && bytes.Equal(old, data) {
		return nil
	}
	s.changed = append(s.changed, name)
	if !s.o.Write {
		return nil
	}
	return os.WriteFile(file, data, 0o644)
}

func keys(m map[string]bool) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
