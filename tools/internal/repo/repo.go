// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package repo knows where the repository is and which modules it holds.
package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/modfile"
)

// Prefix is the module path of the repository's root; modules live below it.
const Prefix = "github.com/gitops-kit/sdk/"

// Module is one line of versions.yaml.
type Module struct {
	Path      string `yaml:"path"`      // folder, slash-separated
	Version   string `yaml:"version"`   // what a sibling requires
	Released  bool   `yaml:"released"`  // the tag exists
	Workspace bool   `yaml:"workspace"` // go.work uses it
}

// Name is the module path.
func (m Module) Name() string { return Prefix + m.Path }

// Root walks up from the working directory to the folder with versions.yaml.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "versions.yaml")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find repository: no versions.yaml in this folder or above")
		}
		dir = parent
	}
}

// Modules reads versions.yaml.
func Modules(root string) ([]Module, error) {
	data, err := os.ReadFile(filepath.Join(root, "versions.yaml"))
	if err != nil {
		return nil, err
	}
	var list struct {
		Modules []Module `yaml:"modules"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&list); err != nil {
		return nil, fmt.Errorf("parse versions.yaml: %w", err)
	}
	return list.Modules, nil
}

// GoMods returns the folders of all go.mod files, slash-separated, sorted.
func GoMods(root string) ([]string, error) {
	var out []string
	err := walk(root, func(rel string, d fs.DirEntry) {
		if d.Name() == "go.mod" && !d.IsDir() {
			out = append(out, filepath.ToSlash(filepath.Dir(rel)))
		}
	})
	slices.Sort(out)
	return out, err
}

// Files returns all files whose name ends in suffix, slash-separated, sorted.
func Files(root, suffix string) ([]string, error) {
	var out []string
	err := walk(root, func(rel string, d fs.DirEntry) {
		if !d.IsDir() && strings.HasSuffix(d.Name(), suffix) {
			out = append(out, filepath.ToSlash(rel))
		}
	})
	slices.Sort(out)
	return out, err
}

func walk(root string, visit func(rel string, d fs.DirEntry)) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".ci" || d.Name() == "bin" && filepath.Dir(rel) == ".") {
			return filepath.SkipDir
		}
		visit(rel, d)
		return nil
	})
}

// Parse reads the go.mod in folder.
func Parse(root, folder string) (*modfile.File, error) {
	name := filepath.Join(root, folder, "go.mod")
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return modfile.Parse(filepath.ToSlash(filepath.Join(folder, "go.mod")), data, nil)
}

// Owner returns the folder among modules that holds file: the longest match.
func Owner(modules []string, file string) string {
	best := ""
	for _, m := range modules {
		if strings.HasPrefix(file, m+"/") && len(m) > len(best) {
			best = m
		}
	}
	return best
}
