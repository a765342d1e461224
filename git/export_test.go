// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
)

// GIT-50
func TestExport(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a/x": "1", "a-b": "2", "a.b": "3", ".ignore": "skip/", "skip/y": "4", "z": ""}, gitserver.CommitOptions{})
	c := client(t, repo.URL(), e.options(t, false))
	r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	got := map[string]string{}
	var order []string
	opened := 0
	out, err := c.Export(t.Context(), r, func(tree fs.FS) (git.Sink, error) {
		opened++
		rules, err := fs.ReadFile(tree, ".ignore")
		g.Expect(err).NotTo(HaveOccurred())
		return func(path string, mode fs.FileMode, size int64, body io.Reader) error {
			name := path
			if mode.IsDir() {
				name += "/"
				got[name] = mode.String()
				if strings.HasPrefix(string(rules), name) {
					return fs.SkipDir
				}
			} else {
				b, err := io.ReadAll(body)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(b).To(HaveLen(int(size)))
				got[name] = fmt.Sprintf("%s %s", mode, b)
			}
			order = append(order, name)
			return nil
		}, nil
	}, git.CheckoutOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(opened).To(Equal(1))
	g.Expect(slices.IsSorted(order)).To(BeTrue(), "%v", order)
	g.Expect(out.Stats.Files).To(BeEquivalentTo(5))
	dir := filepath.Join(t.TempDir(), "out")
	_, err = c.Checkout(t.Context(), r, dir, git.CheckoutOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	want := tree(t, dir)
	delete(want, "skip/y")
	g.Expect(cmp.Diff(want, got)).To(BeEmpty())
}

// exported lists what an export hands out, directories with a slash.
func exported(t testing.TB, c *git.Client, o git.CheckoutOptions, prune string) []string {
	t.Helper()
	r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	_, err = c.Export(t.Context(), r, func(fs.FS) (git.Sink, error) {
		return func(p string, m fs.FileMode, _ int64, r io.Reader) error {
			if m.IsDir() {
				p += "/"
			}
			order = append(order, p)
			if p == prune {
				return fs.SkipDir
			}
			_, err := io.Copy(io.Discard, r)
			return err
		}, nil
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	return order
}

// GIT-50: gitlinks, which Git sorts as files, come where the directories that
// they become belong.
func TestExportOrderOfGitlinks(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	lib := e.srv.Repo("lib")
	id := lib.Commit("main", gitserver.Files{"l": "2"}, gitserver.CommitOptions{})
	link := gitserver.Node{Mode: "160000", ID: id}
	repo := e.srv.Repo("app")
	nodes := map[string]gitserver.Node{}
	modules := ""
	for _, p := range []string{"lib", "lib-x", "lib-x.y", "d/sub", "d/sub.d", "z"} {
		nodes[p] = link
		modules += fmt.Sprintf("[submodule %q]\n\tpath = %s\n\turl = ../lib\n", p, p)
	}
	repo.Commit("main", gitserver.Files{
		".gitmodules": modules, "lib-a/f": "0", "lib.d/f": "1", "lib.yaml": "2", "lib0": "3", "d/sub-1": "4", "d/sub.d-/f": "5", "z!": "6",
	}, gitserver.CommitOptions{Nodes: nodes})
	c := client(t, repo.URL(), e.options(t, false))
	want := []string{
		".gitmodules", "d/", "d/sub-1", "d/sub.d-/", "d/sub.d-/f", "d/sub.d/", "d/sub/",
		"lib-a/", "lib-a/f", "lib-x.y/", "lib-x/", "lib.d/", "lib.d/f", "lib.yaml", "lib/", "lib0", "z!", "z/",
	}
	g.Expect(slices.IsSorted(want)).To(BeTrue())
	g.Expect(exported(t, c, git.CheckoutOptions{}, "")).To(Equal(want))
	g.Expect(exported(t, c, git.CheckoutOptions{}, "d/")).To(Equal(slices.Delete(slices.Clone(want), 2, 7)))
	var full []string
	for _, p := range want {
		if full = append(full, p); strings.HasSuffix(p, "/") && nodes[strings.TrimSuffix(p, "/")].Mode != "" {
			full = append(full, p+"l")
		}
	}
	g.Expect(exported(t, c, git.CheckoutOptions{Submodules: true}, "")).To(Equal(full))
}

// GIT-49, GIT-50: the tree that the sink's maker sees is the whole commit,
// whether the server filters or not, and costs what is read of it.
func TestExportTreeIsWhole(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{
		".ignore": "x", "a/y": "1", "b/.ignore": "y", "b/c": "22", "big": strings.Repeat("z", 100_000),
	}, gitserver.CommitOptions{Nodes: map[string]gitserver.Node{"l": {Mode: "120000", Content: "a"}}})
	for _, filter := range []bool{true, false} {
		t.Run(fmt.Sprint("filter=", filter), func(t *testing.T) {
			g := NewWithT(t)
			repo.Configure(func(o *gitserver.RepoOptions) { o.Capabilities.NoFilter = !filter })
			c := client(t, repo.URL(), e.options(t, false))
			r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			var got []string
			opened := false
			_, err = c.Export(t.Context(), r, func(tree fs.FS) (git.Sink, error) {
				opened = true
				before := repo.Stats().Fetches
				root, err := fs.ReadDir(tree, ".")
				g.Expect(err).NotTo(HaveOccurred())
				var names []string
				for _, d := range root {
					names = append(names, d.Name()+" "+d.Type().String())
				}
				g.Expect(names).To(Equal([]string{".ignore ----------", "a d---------", "b d---------", "big ----------", "l L---------"}))
				g.Expect(repo.Stats().Fetches).To(Equal(before), "names cost nothing")
				for name, want := range map[string]string{".ignore": "x", "b/.ignore": "y", "a/y": "1", "l": "a"} {
					b, err := fs.ReadFile(tree, name)
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(string(b)).To(Equal(want))
				}
				info, err := fs.Stat(tree, "b/c")
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(info.Size()).To(BeEquivalentTo(2))
				info, err = root[0].Info()
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(info.Size()).To(BeEquivalentTo(1))
				if filter {
					g.Expect(repo.Stats().PackBytes).To(BeNumerically("<", 10_000), "only what was read")
				}
				_, err = fs.ReadFile(tree, "nope")
				g.Expect(err).To(MatchError(fs.ErrNotExist))
				return func(p string, _ fs.FileMode, _ int64, _ io.Reader) error { got = append(got, p); return nil }, nil
			}, git.CheckoutOptions{Sparse: []string{"a"}})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(opened).To(BeTrue())
			g.Expect(got).To(Equal([]string{"a", "a/y"}), "the entries are those of the sparse set")
		})
	}
}
