// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
)

func newMirror(t testing.TB, o git.MirrorOptions) (*git.Mirror, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mirror")
	m, err := git.NewMirror(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m, dir
}

// content is a text that hardly compresses.
func content(noise *rand.Rand) string {
	var b strings.Builder
	for range 100 {
		fmt.Fprintf(&b, "%x\n", noise.Uint64())
	}
	return b.String()
}

// GIT-75, GIT-77, GIT-78: fifty clients, one fetch per push.
func TestMirrorConcurrentSafe(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	files := gitserver.Files{}
	noise := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // content that does not compress
	for i := range 12 {
		files[fmt.Sprintf("d%d/f%d", i%10, i)] = content(noise)
	}
	repo.Commit("main", files, gitserver.CommitOptions{})
	m, _ := newMirror(t, git.MirrorOptions{})
	pool := git.NewPool()
	t.Cleanup(func() { _ = pool.Close() })
	const n = 50
	clients := make([]*git.Client, n)
	for i := range clients {
		o := e.options(t, false)
		o.Mirror, o.Conns = m, pool
		clients[i] = client(t, repo.URL(), o)
	}
	var first int64
	for push := range 3 {
		before := repo.Stats()
		var wg sync.WaitGroup
		errs := make([]error, n)
		dirs := make([]string, n)
		for i, c := range clients {
			dirs[i] = filepath.Join(t.TempDir(), "out")
			wg.Go(func() {
				r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
				if err == nil {
					_, err = c.Checkout(t.Context(), r, dirs[i], git.CheckoutOptions{})
				}
				errs[i] = err
			})
		}
		wg.Wait()
		for _, err := range errs {
			g.Expect(err).NotTo(HaveOccurred())
		}
		after := repo.Stats()
		g.Expect(after.Fetches-before.Fetches).To(BeEquivalentTo(1), "one fetch per push")
		g.Expect(after.Listings - before.Listings).To(BeNumerically("<=", n))
		bytes := after.PackBytes - before.PackBytes
		if push == 0 {
			first = bytes
		} else {
			g.Expect(bytes).To(BeNumerically("<", first/4), "only what changed travels")
		}
		g.Expect(cmp.Diff(tree(t, dirs[0]), tree(t, dirs[n-1]))).To(BeEmpty())
		repo.Commit("main", gitserver.Files{"d1/f1": fmt.Sprint("push", push)}, gitserver.CommitOptions{})
	}
}

// GIT-75, GIT-76: a rotated token keeps the mirror, another principal does not
// see it, a revoked one gets nothing out of it.
func TestMirrorPrincipals(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{Auth: gitserver.Auth{Tokens: map[string]string{"one": "ann", "two": "ann", "bob": "bob"}}})
	repo := e.srv.Repo("app")
	id := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	m, dir := newMirror(t, git.MirrorOptions{})
	checkout := func(token, identity string, ref git.Reference) error {
		o := e.options(t, false)
		o.Mirror = m
		o.Credentials = git.Static(git.Credential{Bearer: git.NewSecret(token), Identity: identity})
		c := client(t, repo.URL(), o)
		r, err := c.Resolve(t.Context(), ref, git.ResolveOptions{})
		if err != nil {
			return err
		}
		_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
		return err
	}
	main := git.Reference{Branch: "main"}
	g.Expect(checkout("one", "ann", main)).To(Succeed())
	fetches := repo.Stats().Packs
	g.Expect(checkout("two", "ann", main)).To(Succeed())
	g.Expect(repo.Stats().Packs).To(Equal(fetches), "a rotated token keeps the mirror")
	g.Expect(checkout("bob", "bob", main)).To(Succeed())
	g.Expect(repo.Stats().Packs).To(BeNumerically(">", fetches))
	keys := 0
	for _, name := range leftovers(t, dir) {
		if len(name) == 64 {
			keys++
		}
		g.Expect(name).NotTo(ContainSubstring("app"))
	}
	g.Expect(keys).To(Equal(2), "one directory a principal")
	g.Expect(checkout("one", "ann", git.Reference{Commit: string(id)})).To(Succeed(), "the server admits the id")
	e.srv.SetAuth(gitserver.Auth{Tokens: map[string]string{"bob": "bob"}})
	err := checkout("one", "ann", git.Reference{Commit: string(id)})
	g.Expect(errors.Is(err, git.ErrAuth)).To(BeTrue(), "%v", err)
	err = checkout("one", "ann", main)
	g.Expect(errors.Is(err, git.ErrAuth)).To(BeTrue(), "%v", err)
}

// GIT-80, GIT-81
func TestMirrorDamageAndLock(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": strings.Repeat("content ", 1000)}, gitserver.CommitOptions{})
	m, dir := newMirror(t, git.MirrorOptions{})
	_, err := git.NewMirror(dir, git.MirrorOptions{})
	g.Expect(errors.Is(err, git.ErrMirrorLocked)).To(BeTrue(), "%v", err)
	o := e.options(t, false)
	o.Mirror = m
	c := client(t, repo.URL(), o)
	checkout := func() *git.Checkout {
		r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		out := filepath.Join(t.TempDir(), "out")
		co, err := c.Checkout(t.Context(), r, out, git.CheckoutOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(tree(t, out)["a"]).To(HaveSuffix("content "))
		return co
	}
	checkout()
	packs, err := filepath.Glob(filepath.Join(dir, "*", "objects", "pack", "*.pack"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(packs).To(HaveLen(1))
	g.Expect(os.Chmod(packs[0], 0o600)).To(Succeed())
	b, err := os.ReadFile(packs[0])
	g.Expect(err).NotTo(HaveOccurred())
	for i := 20; i < len(b)-20; i++ {
		b[i] ^= 0xff
	}
	g.Expect(m.Close()).To(Succeed())
	g.Expect(os.WriteFile(packs[0], b, 0o600)).To(Succeed())
	m, err = git.NewMirror(dir, git.MirrorOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	o.Mirror = m
	c = client(t, repo.URL(), o)
	g.Expect(hasNote(checkout().Notes, git.MirrorMiss)).To(Equal(1))
	g.Expect(hasNote(checkout().Notes, git.MirrorMiss)).To(BeZero(), "fetched anew")

	// A restart finds the objects again.
	g.Expect(m.Close()).To(Succeed())
	m2, err := git.NewMirror(dir, git.MirrorOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = m2.Close() }()
	o.Mirror = m2
	c = client(t, repo.URL(), o)
	before := repo.Stats().Packs
	checkout()
	g.Expect(repo.Stats().Packs).To(Equal(before))

	// Eviction by size.
	g.Expect(m2.Close()).To(Succeed())
	m3, err := git.NewMirror(dir, git.MirrorOptions{MaxBytes: 10})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = m3.Close() }()
	o.Mirror = m3
	c = client(t, repo.URL(), o)
	checkout()
	g.Expect(leftovers(t, dir)).To(ConsistOf("lock"))
}

// GIT-80: what was used least recently goes first, down to nine tenths.
func TestMirrorLRU(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	m, dir := newMirror(t, git.MirrorOptions{MaxBytes: 200 << 10})
	const repos = 4
	checkout := func(i int) (hit bool) {
		repo := e.srv.Repo(fmt.Sprint("r", i))
		if repo.Head("main") == "" {
			repo.Generate(gitserver.GenOptions{Files: 10, Bytes: 80 << 10, Seed: uint64(i)})
		}
		before := repo.Stats().Packs
		o := e.options(t, false)
		o.Mirror = m
		c := client(t, repo.URL(), o)
		r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		return repo.Stats().Packs == before
	}
	keys := func() (n int) {
		for _, name := range leftovers(t, dir) {
			if len(name) == 64 {
				n++
			}
		}
		return n
	}
	g.Expect(checkout(0)).To(BeFalse())
	g.Expect(checkout(1)).To(BeFalse())
	g.Expect(keys()).To(Equal(2))
	g.Expect(checkout(0)).To(BeTrue(), "used again")
	g.Expect(checkout(2)).To(BeFalse())
	g.Expect(keys()).To(Equal(2), "three are too many")
	g.Expect(checkout(0)).To(BeTrue(), "the one used meanwhile stayed")
	g.Expect(checkout(2)).To(BeTrue())
	g.Expect(checkout(1)).To(BeFalse(), "the least recently used went")

	// Under load nothing that is in use goes, and in the end the bound holds.
	var wg sync.WaitGroup
	for i := range repos {
		for range 4 {
			wg.Go(func() { checkout(i) })
		}
	}
	wg.Wait()
	g.Expect(keys()).To(BeNumerically("<=", 2))
}

// GIT-75, GIT-76: two credentials share no object, not even on disk, and one
// that lost its access gets nothing that another one fetched.
func TestMirrorSharesNothing(t *testing.T) {
	g := NewWithT(t)
	allowed := map[string]bool{"ann": true, "bob": true}
	var mu sync.Mutex
	e := start(t, gitserver.Options{Auth: gitserver.Auth{
		Tokens: map[string]string{"a": "ann", "b": "bob"},
		Access: func(user, _ string, _ bool) bool { mu.Lock(); defer mu.Unlock(); return allowed[user] },
	}})
	repo := e.srv.Repo("app")
	id := repo.Commit("main", gitserver.Files{"secret": strings.Repeat("classified ", 100)}, gitserver.CommitOptions{})
	m, dir := newMirror(t, git.MirrorOptions{})
	checkout := func(token string, ref git.Reference) error {
		o := e.options(t, false)
		o.Mirror, o.Credentials = m, git.Static(git.Credential{Bearer: git.NewSecret(token)})
		c := client(t, repo.URL(), o)
		r, err := c.Resolve(t.Context(), ref, git.ResolveOptions{})
		if err != nil {
			return err
		}
		_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
		return err
	}
	refs := []git.Reference{{Branch: "main"}, {Commit: string(id)}, {Commit: string(id), Branch: "main"}}
	for _, ref := range refs {
		g.Expect(checkout("a", ref)).To(Succeed())
		g.Expect(checkout("b", ref)).To(Succeed())
	}
	var infos []os.FileInfo
	owners := map[string]bool{}
	g.Expect(filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && strings.Contains(p, "objects") {
			for _, other := range infos {
				g.Expect(os.SameFile(info, other)).To(BeFalse(), p)
			}
			infos = append(infos, info)
			rel, _ := filepath.Rel(dir, p)
			owners[strings.Split(rel, string(filepath.Separator))[0]] = true
			g.Expect(info.Mode().Perm()&0o077&^0o044).To(BeZero(), "nobody else may write")
		}
		return err
	})).To(Succeed())
	g.Expect(owners).To(HaveLen(2))
	mu.Lock()
	allowed["bob"] = false
	mu.Unlock()
	for _, ref := range refs {
		err := checkout("b", ref)
		g.Expect(errors.Is(err, git.ErrForbidden)).To(BeTrue(), "%v", err)
		g.Expect(checkout("a", ref)).To(Succeed())
	}
}

// GIT-79: history comes only when it is asked for.
func TestMirrorHistory(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Generate(gitserver.GenOptions{Files: 20, Bytes: 40 << 10, Commits: 50})
	m, _ := newMirror(t, git.MirrorOptions{})
	o := e.options(t, false)
	o.Mirror = m
	c := client(t, repo.URL(), o)
	r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	for range 2 {
		_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(repo.Stats().Packs).To(Equal(1))
	g.Expect(repo.Stats().PackBytes).To(BeNumerically("<", 50<<10), "one commit")
	w, err := c.Clone(t.Context(), git.Reference{Branch: "main"}, filepath.Join(t.TempDir(), "w"), git.CloneOptions{Depth: -1})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(run(t, w.Dir(), "rev-list", "--count", "HEAD")).To(Equal("50"))
	g.Expect(w.Close()).To(Succeed())
}

// GIT-80: what nobody used for so long goes at the next occasion.
func TestMirrorMaxIdle(t *testing.T) {
	for _, idle := range []time.Duration{0, -1, 72 * time.Hour} {
		g := NewWithT(t)
		e := start(t, gitserver.Options{})
		m, dir := newMirror(t, git.MirrorOptions{})
		names := []string{"old", "new"}
		checkout := func(m *git.Mirror, name string) {
			o := e.options(t, false)
			o.Mirror = m
			_, _, err := checkoutMain(t, client(t, e.srv.Repo(name).URL(), o))
			g.Expect(err).NotTo(HaveOccurred())
		}
		keys := func() []string {
			return slices.DeleteFunc(leftovers(t, dir), func(n string) bool { return n == "lock" })
		}
		var old string
		for _, name := range names {
			e.srv.Repo(name).Commit("main", gitserver.Files{"a": name}, gitserver.CommitOptions{})
			checkout(m, name)
			if name == "old" {
				g.Expect(keys()).To(HaveLen(1))
				old = keys()[0]
			}
		}
		g.Expect(keys()).To(HaveLen(2))
		g.Expect(m.Close()).To(Succeed())
		then := time.Now().Add(-48 * time.Hour)
		g.Expect(os.Chtimes(filepath.Join(dir, old), then, then)).To(Succeed())
		m, err := git.NewMirror(dir, git.MirrorOptions{MaxIdle: idle})
		g.Expect(err).NotTo(HaveOccurred())
		checkout(m, "new")
		if idle == 0 {
			g.Expect(keys()).To(And(HaveLen(1), Not(ContainElement(old))), "a day is over")
		} else {
			g.Expect(keys()).To(HaveLen(2), "%v", idle)
		}
		g.Expect(m.Close()).To(Succeed())
	}
}

// GIT-80: a repository of too many packs is dropped when nobody uses it, and
// fetched anew.
func TestMirrorMaxPacks(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	m, dir := newMirror(t, git.MirrorOptions{MaxPacks: 2})
	o := e.options(t, false)
	o.Mirror = m
	c := client(t, repo.URL(), o)
	for i, want := range []int{1, 2, 0, 1, 2, 0} {
		repo.Commit("main", gitserver.Files{"a": fmt.Sprint(i), fmt.Sprint("f", i): "x"}, gitserver.CommitOptions{})
		got, out, err := checkoutMain(t, c)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got["a"]).To(HaveSuffix(fmt.Sprint(" ", i)))
		g.Expect(got).To(HaveLen(i + 2))
		g.Expect(hasNote(out.Notes, git.MirrorMiss)).To(BeZero())
		packs, err := filepath.Glob(filepath.Join(dir, "*", "objects", "pack", "*.pack"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(packs).To(HaveLen(want), "commit %d", i)
	}
}
