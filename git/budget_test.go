// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// GIT-62: the limits are budgets of the checkout with its submodules, to the
// last entry.
func TestBudgetsOfSubmodules(t *testing.T) {
	e := start(t, gitserver.Options{})
	lib, app := e.srv.Repo("lib"), e.srv.Repo("app")
	noise := rand.New(rand.NewPCG(5, 6))
	text := content(noise)
	id := lib.Commit("main", gitserver.Files{"x": text}, gitserver.CommitOptions{})
	app.Commit("main", gitserver.Files{"a": content(noise)}, gitserver.CommitOptions{})
	app.Submodule("main", "v", "../lib", id, gitserver.CommitOptions{}) // .gitmodules, a, v, v/x
	packs := func(r *gitserver.Repo) int64 {
		p, err := r.PackOf("main")
		if err != nil {
			t.Fatal(err)
		}
		return int64(len(p))
	}
	both := packs(app) + packs(lib)
	for name, tc := range map[string]struct {
		limit     string
		set       func(*git.Limits, int64)
		enough    int64
		tolerance int64
	}{
		"Files":   {"worktree-files", func(l *git.Limits, n int64) { l.Files = n }, 4, 1},
		"Objects": {"git-objects", func(l *git.Limits, n int64) { l.Objects = n }, 4 + 3, 1},
		"Pack":    {"git-pack", func(l *git.Limits, n int64) { l.Pack = n }, both, both / 4},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			checkout := func(n int64) error {
				o := e.options(t, false)
				tc.set(&o.Limits, n)
				c := client(t, app.URL(), o)
				r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				parent := t.TempDir()
				_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{Submodules: true})
				if err != nil {
					g.Expect(leftovers(t, parent)).To(BeEmpty())
					g.Expect(leftovers(t, o.TempDir)).To(BeEmpty())
				}
				return err
			}
			err := checkout(tc.enough - tc.tolerance)
			g.Expect(limitName(t, err)).To(Equal(tc.limit))
			var ge *git.Error
			g.Expect(errors.As(err, &ge)).To(BeTrue())
			g.Expect(ge.Reason()).To(Equal("LimitExceeded"))
			g.Expect(ge.Terminal()).To(BeTrue())
			g.Expect(checkout(tc.enough)).To(Succeed())
		})
	}
}

// §12: what a commit says about its submodules the next commit may say better.
func TestSubmoduleErrorsAreNotFinal(t *testing.T) {
	e := start(t, gitserver.Options{Auth: gitserver.Auth{Users: map[string]string{"ann": "pw"}, AnonymousRead: true, Access: func(user, repo string, _ bool) bool {
		return repo != "locked"
	}}})
	lib, app := e.srv.Repo("lib"), e.srv.Repo("app")
	e.srv.Repo("locked")
	id := lib.Commit("main", gitserver.Files{"x": "1"}, gitserver.CommitOptions{})
	app.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	for name, tc := range map[string]struct{ url, reason string }{
		"scp":    {"git@example.com:o/lib.git", "GitOperationFailed"},
		"empty":  {"../nothing", "GitOperationFailed"},
		"locked": {"../locked", "AuthenticationFailed"},
		"dialed": {"http://169.254.169.254/x", "AddressBlocked"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			app.Ref("refs/heads/"+name, "main")
			app.Submodule(name, "v", tc.url, id, gitserver.CommitOptions{})
			c := client(t, app.URL(), e.options(t, false))
			r, err := c.Resolve(t.Context(), git.Reference{Branch: name}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			parent := t.TempDir()
			_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{Submodules: true})
			var ge *git.Error
			g.Expect(errors.As(err, &ge)).To(BeTrue(), "%v", err)
			g.Expect(errors.Is(err, git.ErrSubmodule)).To(BeTrue(), "%v", err)
			g.Expect(ge.Terminal()).To(BeFalse(), "%v", err)
			g.Expect(ge.Reason()).To(Equal(tc.reason), "%v", err)
			g.Expect(leftovers(t, parent)).To(BeEmpty())
		})
	}
}

// GIT-65, GIT-67: one large file in a repository and in its submodule is one file.
func TestLFSInSubmodule(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	lib, app := e.srv.Repo("lib"), e.srv.Repo("app")
	big := strings.Repeat("large content\n", 1000)
	at := "*.bin filter=lfs\n"
	id := lib.Commit("main", gitserver.Files{".gitattributes": at, "x.bin": lib.LFSPointer(big), "o.bin": lib.LFSPointer("other")}, gitserver.CommitOptions{})
	app.Commit("main", gitserver.Files{".gitattributes": at, "y.bin": app.LFSPointer(big), "z.bin": app.LFSPointer(big)}, gitserver.CommitOptions{})
	app.Submodule("main", "v", "../lib", id, gitserver.CommitOptions{})
	c := client(t, app.URL(), e.options(t, false))
	r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	dir := filepath.Join(t.TempDir(), "out")
	_, err = c.Checkout(t.Context(), r, dir, git.CheckoutOptions{Submodules: true, LFS: true})
	g.Expect(err).NotTo(HaveOccurred())
	for name, want := range map[string]string{"y.bin": big, "z.bin": big, "v/x.bin": big, "v/o.bin": "other"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(b) == want).To(BeTrue(), name)
	}
}
