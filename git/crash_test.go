//go:build failpoints

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/crash"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// mirrorWork checks four branches out by way of a mirror that is too small for
// them. Whatever a killed run left there must not matter.
func mirrorWork(tb testing.TB, dir, url string) {
	tb.Helper()
	g := NewWithT(tb)
	m, err := git.NewMirror(filepath.Join(dir, "mirror"), git.MirrorOptions{MaxPacks: 2})
	g.Expect(err).NotTo(HaveOccurred())
	c := client(tb, url, git.Options{Mirror: m, TempDir: tb.TempDir()})
	for i := range 4 {
		r, err := c.Resolve(tb.Context(), git.Reference{Branch: fmt.Sprint("b", i)}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		out := filepath.Join(tb.TempDir(), "out")
		_, err = c.Checkout(tb.Context(), r, out, git.CheckoutOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(tree(tb, out)["a"]).To(HaveSuffix(fmt.Sprint(" content ", i)))
	}
	g.Expect(m.Close()).To(Succeed())
}

// GIT-80, GIT-T12: a process that dies at any step leaves a mirror that works.
func TestMirrorCrash(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	for i := range 4 {
		text := fmt.Sprint("content ", i)
		repo.Commit("main", gitserver.Files{"a": text, fmt.Sprint("d/f", i): strings.Repeat(text, 50)}, gitserver.CommitOptions{})
		repo.Ref(fmt.Sprint("refs/heads/b", i), "main")
	}
	crash.Each(t, crash.Options{
		Times:  1,
		Env:    []string{"MIRROR_TEST_URL=" + repo.URL()},
		Helper: "TestHelperMirror",
		Points: []string{"packstore-before-rename", "packstore-between-renames", "packstore-after-rename", "mirror-before-remove", "mirror-between-rename-and-delete", "mirror-after-fetch", "mirror-after-add"},
		Check: func(tb testing.TB, dir string, killed []crash.Point) {
			tb.Helper()
			g := NewWithT(tb)
			err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
				if strings.HasSuffix(p, ".tmp") {
					tb.Errorf("killed at %v: %s was left", killed, p)
				}
				if stem, ok := strings.CutSuffix(p, ".pack"); ok {
					g.Expect(stem + ".idx").To(BeAnExistingFile())
				}
				return err
			})
			g.Expect(err).NotTo(HaveOccurred())
			mirrorWork(tb, dir, repo.URL())
		},
	})
}

func TestHelperMirror(t *testing.T) {
	dir, ok := crash.Dir()
	if !ok {
		return // not the child
	}
	mirrorWork(t, dir, os.Getenv("MIRROR_TEST_URL"))
}
