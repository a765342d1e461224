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
