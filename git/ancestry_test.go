// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// requestBody reads the body of a request and leaves it readable.
func requestBody(r *http.Request) string {
	b, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(b)))
	return string(b)
}

// refuseFetch makes a repository refuse each fetch that holds text and not the
// other one; move runs before the first refusal.
func refuseFetch(repo *gitserver.Repo, text, not string, move func()) {
	moved := false
	repo.Configure(func(o *gitserver.RepoOptions) {
		o.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			body := requestBody(r)
			if !strings.Contains(body, "command=fetch") || !strings.Contains(body, text) || not != "" && strings.Contains(body, not) {
				return false
			}
			if !moved {
				moved = true
				move()
			}
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			_, _ = io.WriteString(w, "0018ERR not our ref abcd")
			return true
		}
	})
}

func hash(t testing.TB, h gitserver.Hash) git.Hash {
	t.Helper()
	id, err := git.ParseHash(string(h))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// GIT-39: a server that refuses the proved commit and leads to an unrelated
// one, at whatever moment, does not get it checked out.
func TestRollbackByMovedRef(t *testing.T) {
	for name, not := range map[string]string{"AtThePack": "tree:0", "AtAnyFetch": ""} {
		for _, mirror := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				g := NewWithT(t)
				e := start(t, gitserver.Options{})
				repo := e.srv.Repo("app")
				repo.Commit("evil", gitserver.Files{"a": "evil"}, gitserver.CommitOptions{})
				first := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
				second := repo.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{})
				refuseFetch(repo, "want "+string(second), not, func() { repo.Ref("refs/heads/main", string(repo.Head("evil"))) })
				o := e.options(t, false)
				if mirror {
					o.Mirror, _ = newMirror(t, git.MirrorOptions{})
				}
				c := client(t, repo.URL(), o)
				r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				dir := t.TempDir()
				_, err = c.Checkout(t.Context(), r, filepath.Join(dir, "out"), git.CheckoutOptions{RequireFastForwardFrom: hash(t, first)})
				g.Expect(errors.Is(err, git.ErrRollback)).To(BeTrue(), "%v", err)
				g.Expect(leftovers(t, dir)).To(BeEmpty())
			})
		}
	}
}

// GIT-40: a reference that moved forward between listing and fetch is resolved
// once more, and the result says so; so it is with a required ancestor.
func TestRefMoved(t *testing.T) {
	for _, from := range []bool{false, true} {
		g := NewWithT(t)
		e := start(t, gitserver.Options{})
		repo := e.srv.Repo("app")
		first := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
		second := repo.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{})
		var third gitserver.Hash
		refuseFetch(repo, "want "+string(second), "tree:0", func() { third = repo.Commit("main", gitserver.Files{"a": "3"}, gitserver.CommitOptions{}) })
		c := client(t, repo.URL(), e.options(t, false))
		r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		before := repo.Stats().Listings
		var o git.CheckoutOptions
		if from {
			o.RequireFastForwardFrom = hash(t, first)
		}
		dir := filepath.Join(t.TempDir(), "out")
		out, err := c.Checkout(t.Context(), r, dir, o)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(out.Commit.Hash.String()).To(Equal(string(third)))
		g.Expect(out.Revision.String()).To(Equal("main@sha1:" + string(third)))
		g.Expect(hasNote(out.Notes, git.RefMoved)).To(Equal(1))
		g.Expect(tree(t, dir)["a"]).To(HaveSuffix(" 3"))
		g.Expect(repo.Stats().Listings).To(Equal(before+1), "one more, no loop")
	}
}

// GIT-26, GIT-34, GIT-36, GIT-39: a server that gives out advertised ids only
// is asked for tags by their own ids, and for history by its branches.
func TestProofsOverVersion0(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{Backend: gitserver.Exec, SSH: &gitserver.SSHOptions{RefuseEnv: true}})
	repo := e.srv.Repo("app")
	first := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	repo.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{})
	repo.AnnotatedTag("v1.0.0+a", "main", gitserver.TagOptions{})
	third := repo.Commit("main", gitserver.Files{"a": "3"}, gitserver.CommitOptions{})
	repo.AnnotatedTag("v1.0.0+b", "main", gitserver.TagOptions{})
	repo.Commit("main", gitserver.Files{"a": "4"}, gitserver.CommitOptions{})
	other := repo.Commit("other", gitserver.Files{"a": "5"}, gitserver.CommitOptions{})
	c := client(t, repo.SSHURL(), e.options(t, true))
	r, err := c.Resolve(t.Context(), git.Reference{SemVer: "1.0.x"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Revision.String()).To(Equal("v1.0.0+b@sha1:" + string(third)))
	g.Expect(r.Protocol).To(Equal("ssh/0"))
	r, err = c.Resolve(t.Context(), git.Reference{Tag: "v1.0.0+a"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	checkout := func(r *git.Resolved, from gitserver.Hash) error {
		_, err := c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{RequireFastForwardFrom: hash(t, from)})
		return err
	}
	g.Expect(checkout(r, first)).To(Succeed())
	err = checkout(r, other)
	g.Expect(errors.Is(err, git.ErrRollback)).To(BeTrue(), "%v", err)

	// A pinned commit is no tip: its own history is found on its branch.
	pinned, err := c.Resolve(t.Context(), git.Reference{Commit: string(third), Branch: "main"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(checkout(pinned, first)).To(Succeed())
	bare, err := c.Resolve(t.Context(), git.Reference{Commit: string(third)}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(checkout(bare, first)).To(Succeed())
	err = checkout(bare, other)
	g.Expect(errors.Is(err, git.ErrRollback)).To(BeTrue(), "%v", err)
	_, err = c.Resolve(t.Context(), git.Reference{Commit: string(other), Branch: "main"}, git.ResolveOptions{})
	g.Expect(errors.Is(err, git.ErrCommitNotOnBranch)).To(BeTrue(), "%v", err)
}

// GIT-36: what was proved once is not asked for again, not even by the next
// process, and shortens the proof for later tips. Another principal knows nothing of it.
func TestProofsInMirror(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{Auth: gitserver.Auth{Tokens: map[string]string{"a": "ann", "b": "bob"}}})
	repo := e.srv.Repo("app")
	first := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	repo.Generate(gitserver.GenOptions{Branch: "main", Files: 2, Commits: 100})
	other := repo.Commit("other", gitserver.Files{"a": "2"}, gitserver.CommitOptions{})
	m, dir := newMirror(t, git.MirrorOptions{})
	resolve := func(token string, commit gitserver.Hash) (fetches int, err error) {
		before := repo.Stats().Fetches
		o := e.options(t, false)
		o.Mirror, o.Credentials = m, git.Static(git.Credential{Bearer: git.NewSecret(token)})
		_, err = client(t, repo.URL(), o).Resolve(t.Context(), git.Reference{Branch: "main", Commit: string(commit)}, git.ResolveOptions{})
		return repo.Stats().Fetches - before, err
	}
	expect := func(token string, fetches int) {
		t.Helper()
		n, err := resolve(token, first)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(n).To(Equal(fetches))
	}
	expect("a", 2) // 64 commits are not enough
	expect("a", 0)
	g.Expect(m.Close()).To(Succeed())
	var err error
	m, err = git.NewMirror(dir, git.MirrorOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = m.Close() }()
	expect("a", 0)
	expect("b", 2)
	repo.Commit("main", gitserver.Files{"a": "3"}, gitserver.CommitOptions{})
	expect("a", 1) // the old tip is near, and its proof known
	expect("a", 0)
	for range 2 { // what was not proved is asked each time
		n, err := resolve("a", other)
		g.Expect(errors.Is(err, git.ErrCommitNotOnBranch)).To(BeTrue(), "%v", err)
		g.Expect(n).To(Equal(2))
	}
	e.srv.SetAuth(gitserver.Auth{Tokens: map[string]string{"b": "bob"}})
	_, err = resolve("a", first)
	g.Expect(errors.Is(err, git.ErrAuth)).To(BeTrue(), "a proof lets nobody in: %v", err)
}
