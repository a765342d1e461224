//go:build failpoints

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/packstore"
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
	var first string
	for i := range 4 {
		// The first commit is on every branch, which is proved.
		r, err := c.Resolve(tb.Context(), git.Reference{Branch: fmt.Sprint("b", i), Commit: first}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		if first == "" {
			first = r.Commit.String()
		}
		r, err = c.Resolve(tb.Context(), git.Reference{Branch: fmt.Sprint("b", i)}, git.ResolveOptions{})
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
		Points: mirrorPoints,
		Only:   mirrorPoints,
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

// What each scenario hits.
var (
	mirrorPoints = []string{
		"git/mirror/before-publish", "git/mirror/between-renames", "git/mirror/after-publish", "git/mirror/before-remove", "git/mirror/after-rename",
		"git/mirror/after-fetch", "git/mirror/after-add", "git/mirror/before-proof", "git/mirror/after-proof",
	}
	checkoutPoints = []string{"git/after-resolve", "git/after-pack", "git/before-publish", "git/after-checkout"}
	pushPoints     = []string{
		"git/meta/before-rename", "git/meta/after-rename", "git/before-index", "git/after-index", "git/loose/before-rename", "git/loose/after-rename",
		"git/push/before", "git/push/after-pack", "git/push/after-reply",
	}
)

// shorter is those of the points that are tried without GITOPS_KIT_LONG=1.
func shorter(points []string, some ...string) []string {
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		return points
	}
	return some
}

// FP-2: every failpoint is declared once, in failpoints.go, used by its
// constant, and hit by a scenario.
func TestFailpoints(t *testing.T) {
	g := NewWithT(t)
	var declared []string
	for _, dir := range []string{".", "packstore"} {
		b, err := os.ReadFile(filepath.Join(dir, "failpoints.go"))
		g.Expect(err).NotTo(HaveOccurred())
		names := map[string]int{}
		for _, m := range regexp.MustCompile(`(fp\w+)\s+= "([^"]+)"`).FindAllStringSubmatch(string(b), -1) {
			names[m[1]] = 0
			declared = append(declared, m[2])
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		g.Expect(err).NotTo(HaveOccurred())
		for _, f := range files {
			b, err := os.ReadFile(f)
			g.Expect(err).NotTo(HaveOccurred())
			for _, m := range regexp.MustCompile(`fail\.(?:Point|Err)\(([^)]*)\)`).FindAllStringSubmatch(string(b), -1) {
				g.Expect(names).To(HaveKey(m[1]), f)
				names[m[1]]++
			}
		}
		g.Expect(names).NotTo(ContainElement(0), "declared and never used")
	}
	// ConsistOf finds duplicates, too.
	g.Expect(declared).To(ConsistOf(slices.Concat(mirrorPoints, checkoutPoints, pushPoints)))
}

func complete(tb testing.TB, dir string) bool {
	tb.Helper()
	es, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(es) == 0 {
		return false
	}
	got := tree(tb, dir)
	if len(got) != 201 || !strings.HasSuffix(got["d/f199"], " content 199") {
		tb.Errorf("%d paths: neither absent nor complete", len(got))
	}
	return true
}

// CR-3, GIT-42: whenever the process dies, the directory is as before, or complete.
func TestCheckoutCrash(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	files := gitserver.Files{}
	for i := range 200 {
		files[fmt.Sprint("d/f", i)] = fmt.Sprint("content ", i)
	}
	repo.Commit("main", files, gitserver.CommitOptions{})
	for _, there := range []bool{false, true} {
		t.Run(fmt.Sprint("there=", there), func(t *testing.T) {
			crash.Each(t, crash.Options{
				Env:    []string{"CHECKOUT_TEST_URL=" + repo.URL()},
				Helper: "TestHelperCheckout",
				Points: checkoutPoints,
				Only:   shorter(checkoutPoints, "git/before-publish", "git/after-checkout"),
				Prepare: func(tb testing.TB, dir string) {
					tb.Helper()
					if there {
						NewWithT(tb).Expect(os.Mkdir(filepath.Join(dir, "out"), 0o700)).To(Succeed())
					}
				},
				CheckKilled: func(tb testing.TB, dir string, killed []crash.Point) {
					tb.Helper()
					g, out := NewWithT(tb), filepath.Join(dir, "out")
					if killed[len(killed)-1].Name == "git/after-checkout" {
						g.Expect(complete(tb, out)).To(BeTrue())
						return
					}
					g.Expect(complete(tb, out)).To(BeFalse())
					if there {
						g.Expect(out).To(BeADirectory())
					} else {
						g.Expect(out).NotTo(BeAnExistingFile())
					}
				},
				Check: func(tb testing.TB, dir string, _ []crash.Point) {
					tb.Helper()
					NewWithT(tb).Expect(complete(tb, filepath.Join(dir, "out"))).To(BeTrue())
				},
			})
		})
	}
}

func TestHelperCheckout(t *testing.T) {
	dir, ok := crash.Dir()
	if !ok {
		return // not the child
	}
	out := filepath.Join(dir, "out")
	if complete(t, out) {
		return
	}
	g := NewWithT(t)
	c := client(t, os.Getenv("CHECKOUT_TEST_URL"), git.Options{TempDir: scratch(t, dir)})
	r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = c.Checkout(t.Context(), r, out, git.CheckoutOptions{})
	g.Expect(err).NotTo(HaveOccurred())
}

// scratch is a temporary directory that the parent removes: a killed child does not.
func scratch(tb testing.TB, dir string) string {
	tb.Helper()
	tmp := filepath.Join(dir, "scratch")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		tb.Fatal(err)
	}
	return tmp
}

// CR-3, GIT-98: a process that dies before, while or after its push is
// answered has made its change exactly once when it has run again.
func TestPushCrash(t *testing.T) {
	e, _ := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	n := 0
	crash.Each(t, crash.Options{
		Env:    []string{"PUSH_TEST_URL=" + repo.URL()},
		Times:  1,
		Helper: "TestHelperPush",
		Points: pushPoints,
		Only:   shorter(pushPoints, "git/push/before", "git/push/after-pack", "git/push/after-reply"),
		Prepare: func(tb testing.TB, dir string) {
			tb.Helper()
			n++
			repo.Ref(fmt.Sprint("refs/heads/b", n), "main")
			NewWithT(tb).Expect(os.WriteFile(filepath.Join(dir, "branch"), fmt.Append(nil, "b", n), 0o600)).To(Succeed())
		},
		CheckKilled: func(tb testing.TB, dir string, killed []crash.Point) {
			tb.Helper()
			want := "1"
			if strings.HasPrefix(killed[len(killed)-1].Name, "git/push/after") {
				want = "2"
			}
			NewWithT(tb).Expect(commitsOn(tb, repo, dir)).To(Equal(want), "%v", killed)
		},
		Check: func(tb testing.TB, dir string, killed []crash.Point) {
			tb.Helper()
			NewWithT(tb).Expect(commitsOn(tb, repo, dir)).To(Equal("2"), "%v", killed)
		},
	})
}

// commitsOn counts the commits of a run's branch.
func commitsOn(tb testing.TB, repo *gitserver.Repo, dir string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "branch"))
	if err != nil {
		tb.Fatal(err)
	}
	c := client(tb, repo.URL(), git.Options{TempDir: tb.TempDir(), Credentials: git.Static(git.Credential{Username: "ann", Password: git.NewSecret("pw")})})
	w, err := c.Clone(tb.Context(), git.Reference{Branch: string(b)}, filepath.Join(tb.TempDir(), "w"), git.CloneOptions{Depth: -1})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	return run(tb, w.Dir(), "rev-list", "--count", "HEAD")
}

func TestHelperPush(t *testing.T) {
	dir, ok := crash.Dir()
	if !ok {
		return // not the child
	}
	g := NewWithT(t)
	b, err := os.ReadFile(filepath.Join(dir, "branch"))
	g.Expect(err).NotTo(HaveOccurred())
	c := client(t, os.Getenv("PUSH_TEST_URL"), git.Options{
		TempDir: scratch(t, dir), Driver: packstore.New(packstore.Options{}),
		Credentials: git.Static(git.Credential{Username: "ann", Password: git.NewSecret("pw")}),
	})
	_, err = c.Update(t.Context(), string(b), func(_ context.Context, r *git.Repository) (git.CommitOptions, error) {
		return git.CommitOptions{Message: "change", Author: ann}, r.Root().WriteFile("a", []byte("2"), 0o644)
	}, git.UpdateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
}

func TestHelperMirror(t *testing.T) {
	dir, ok := crash.Dir()
	if !ok {
		return // not the child
	}
	mirrorWork(t, dir, os.Getenv("MIRROR_TEST_URL"))
}
