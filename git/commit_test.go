// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// working makes a repository with two commits on main and clones it.
func working(t testing.TB, d driver.Driver) *git.Repository {
	t.Helper()
	e, o := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1", "d/b": "2", "x.sh": "#!"}, gitserver.CommitOptions{Nodes: map[string]gitserver.Node{"x.sh": {Mode: "100755", Content: "#!"}}})
	repo.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{})
	o.Driver = d
	c := client(t, repo.URL(), o)
	r, err := c.Clone(t.Context(), git.Reference{Branch: "main"}, filepath.Join(t.TempDir(), "w"), git.CloneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// objects lists what is stored in a working copy.
func objects(t testing.TB, r *git.Repository) string {
	t.Helper()
	return run(t, r.Dir(), "count-objects", "-v")
}

// GIT-93: what an option says is in the commit, as git sees it.
func TestCommitOptions(t *testing.T) {
	for name, d := range drivers() {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := working(t, d)
			_, base := r.Head()
			show := func(format string) string { return run(t, r.Dir(), "log", "-1", "--format="+format) }

			_, err := r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "x"})
			g.Expect(errors.Is(err, git.ErrNothingToCommit)).To(BeTrue(), "%v", err)
			c, err := r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "nothing", AllowEmpty: true})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(run(t, r.Dir(), "rev-parse", "HEAD^{tree}")).To(Equal(run(t, r.Dir(), "rev-parse", base.String()+"^{tree}")))
			g.Expect(c.Parents).To(Equal([]git.Hash{base}))

			// Committer is Author where it is not given; the time is now.
			g.Expect(show("%an <%ae>%n%cn <%ce>")).To(Equal("Ann <ann@example.com>\nAnn <ann@example.com>"))
			g.Expect(show("%at")).To(Equal(show("%ct")))
			g.Expect(time.Since(c.Author.When)).To(BeNumerically("<", time.Hour))

			// What would break the header is removed; times and zones are kept.
			when := time.Date(2020, 1, 2, 3, 4, 5, 0, time.FixedZone("", -(9*60+30)*60))
			writeFile(t, r, "a", "3")
			writeFile(t, r, "new", "1")
			c, err = r.Commit(t.Context(), git.CommitOptions{
				Author:      git.Signature{Name: " A<n>n\n\x00\x7f ", Email: "<a@\nb>", When: when},
				Committer:   git.Signature{Name: "Bob", Email: "bob@example.com", When: when.Add(time.Minute)},
				Message:     "subject\n\nbody\n\n\n",
				TrackedOnly: true,
			})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(show("%an <%ae> %ad%n%cn <%ce> %cd")).To(Equal("Ann <a@b> Thu Jan 2 03:04:05 2020 -0930\nBob <bob@example.com> Thu Jan 2 03:05:05 2020 -0930"))
			g.Expect(c.Message).To(Equal("subject\n\nbody\n"), "one final newline")
			g.Expect(run(t, r.Dir(), "ls-tree", "-r", "--name-only", "HEAD")).To(Equal("a\nd/b\nx.sh"), "tracked only")
			g.Expect(run(t, r.Dir(), "status", "--porcelain")).To(Equal("?? new"))
			_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, TrackedOnly: true})
			g.Expect(errors.Is(err, git.ErrNothingToCommit)).To(BeTrue(), "%v", err)

			// Parents replace HEAD; an empty list makes a root.
			c, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "merge", Parents: []git.Hash{c.Hash, base}})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(show("%P")).To(Equal(c.Parents[0].String() + " " + base.String()))
			g.Expect(show("%T")).To(Equal(c.Tree.String()))
			writeFile(t, r, "a", "4")
			_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "root", Parents: []git.Hash{}})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(show("%P")).To(BeEmpty())
			g.Expect(run(t, r.Dir(), "fsck", "--strict")).NotTo(ContainSubstring("error"))
		})
	}
}

// GIT-93: what cannot be written is refused before anything is stored.
func TestCommitRefused(t *testing.T) {
	r := working(t, nil)
	writeFile(t, r, "a", "3")
	_, head := r.Head()
	before := objects(t, r)
	for name, o := range map[string]git.CommitOptions{
		"NoAuthor":     {Message: "x"},
		"NoEmail":      {Author: git.Signature{Name: "Ann"}},
		"OnlyBrackets": {Author: git.Signature{Name: "Ann", Email: " <\n> "}},
		"Committer":    {Author: ann, Committer: git.Signature{Name: "Bob"}},
		"NUL":          {Author: ann, Message: "a\x00b"},
		"Before1970":   {Author: git.Signature{Email: "a@b", When: time.Unix(-5, 0)}},
		"Committed":    {Author: ann, Committer: git.Signature{Email: "a@b", When: time.Unix(-5, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := r.Commit(t.Context(), o)
			g.Expect(errors.Is(err, git.ErrInvalidOption)).To(BeTrue(), "%v", err)
			_, now := r.Head()
			g.Expect(now).To(Equal(head))
			g.Expect(objects(t, r)).To(Equal(before), "nothing was stored")
		})
	}
	g := NewWithT(t)
	_, err := r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: strings.Repeat("x", 1<<20+1)})
	g.Expect(limitName(t, err)).To(Equal("commit-message"))
	_, err = r.Commit(t.Context(), git.CommitOptions{Author: git.Signature{Email: "a@b", When: time.Unix(0, 0)}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(run(t, r.Dir(), "log", "-1", "--format=%at")).To(Equal("0"))
}

// GIT-92: modes count, links are compared by target, and what is neither file
// nor link is an error that names it.
func TestStatusKinds(t *testing.T) {
	g := NewWithT(t)
	r := working(t, nil)
	g.Expect(os.Chmod(filepath.Join(r.Dir(), "a"), 0o755)).To(Succeed())
	g.Expect(os.Chmod(filepath.Join(r.Dir(), "x.sh"), 0o644)).To(Succeed())
	g.Expect(os.Chmod(filepath.Join(r.Dir(), "d/b"), 0o600)).To(Succeed()) // no mode of Git's
	kinds := func() map[string]git.ChangeKind {
		changes, err := r.Status(t.Context())
		g.Expect(err).NotTo(HaveOccurred())
		out := map[string]git.ChangeKind{}
		for _, c := range changes {
			out[c.Path] = c.Kind
		}
		return out
	}
	g.Expect(kinds()).To(Equal(map[string]git.ChangeKind{"a": git.ModeChanged, "x.sh": git.ModeChanged}))
	_, err := r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "modes"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(run(t, r.Dir(), "ls-tree", "HEAD", "a", "x.sh")).To(And(ContainSubstring("100755 blob"), ContainSubstring("100644 blob")))
	g.Expect(kinds()).To(BeEmpty())
	g.Expect(run(t, r.Dir(), "status", "--porcelain")).To(BeEmpty())

	secret := filepath.Join(t.TempDir(), "secret")
	g.Expect(os.WriteFile(secret, []byte("2"), 0o600)).To(Succeed())
	g.Expect(os.Remove(filepath.Join(r.Dir(), "a"))).To(Succeed())
	g.Expect(os.Symlink(secret, filepath.Join(r.Dir(), "a"))).To(Succeed())
	g.Expect(kinds()).To(HaveKey("a"), "a link to the same content is another thing")
	g.Expect(os.Remove(filepath.Join(r.Dir(), "a"))).To(Succeed())

	before, _ := r.Head()
	for _, p := range []string{"fifo", "d/fifo"} {
		full := filepath.Join(r.Dir(), p)
		g.Expect(syscall.Mkfifo(full, 0o600)).To(Succeed())
		_, err := r.Status(t.Context())
		g.Expect(errors.Is(err, git.ErrSpecialFile)).To(BeTrue(), "%v", err)
		g.Expect(err.Error()).To(ContainSubstring(p))
		_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "x"})
		g.Expect(errors.Is(err, git.ErrSpecialFile)).To(BeTrue(), "%v", err)
		g.Expect(os.Remove(full)).To(Succeed())
	}
	after, _ := r.Head()
	g.Expect(after).To(Equal(before))
}

// GIT-48: options that are wrong cost no request.
func TestCloneChecksOptionsFirst(t *testing.T) {
	g := NewWithT(t)
	e, o := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	c := client(t, repo.URL(), o)
	parent := t.TempDir()
	_, err := c.Clone(t.Context(), git.Reference{Branch: "main"}, filepath.Join(parent, "w"), git.CloneOptions{Sparse: []string{"../x"}})
	g.Expect(errors.Is(err, git.ErrSparsePath)).To(BeTrue(), "%v", err)
	called := false
	_, err = c.Update(t.Context(), "main", func(context.Context, *git.Repository) (git.CommitOptions, error) {
		called = true
		return git.CommitOptions{}, nil
	}, git.UpdateOptions{Clone: git.CloneOptions{Sparse: []string{"../x"}}})
	g.Expect(errors.Is(err, git.ErrSparsePath)).To(BeTrue(), "%v", err)
	g.Expect(called).To(BeFalse())
	g.Expect(e.srv.Log()).To(BeEmpty())
	g.Expect(leftovers(t, parent)).To(BeEmpty())
}

// GIT-46, GIT-94: a switch leaves out the links that a checkout leaves out, and
// what it cannot do it finds before it touches a file.
func TestSwitchLinksAndChecks(t *testing.T) {
	g := NewWithT(t)
	e, o := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1", "z": "1"}, gitserver.CommitOptions{})
	repo.Commit("topic", gitserver.Files{"a": "2"}, gitserver.CommitOptions{Nodes: map[string]gitserver.Node{
		"m": {Mode: "120000", Content: strings.Repeat("x", 5000)}, "l": {Mode: "120000", Content: "a"},
		"n": {Mode: "120000", Content: strings.Repeat("y", 4096)}, // allowed, and more than Linux takes
	}})
	repo.Commit("large", gitserver.Files{"a": strings.Repeat("x", 3000), "b": strings.Repeat("y", 3000)}, gitserver.CommitOptions{})
	o.Limits.Bytes = 5000
	c := client(t, repo.URL(), o)
	dir := filepath.Join(t.TempDir(), "w")
	r, err := c.Clone(t.Context(), git.Reference{Branch: "main"}, dir, git.CloneOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = r.Close() }()
	before := tree(t, dir)
	err = r.Switch(t.Context(), "large", git.SwitchOptions{})
	g.Expect(limitName(t, err)).To(Equal("worktree-bytes"))
	g.Expect(tree(t, dir)).To(Equal(before), "nothing was touched")
	branch, _ := r.Head()
	g.Expect(branch).To(Equal("main"))
	g.Expect(run(t, dir, "status", "--porcelain", "-b")).To(Equal("## main...origin/main"))

	o.Limits.Bytes = 0
	r2, err := client(t, repo.URL(), o).Clone(t.Context(), git.Reference{Branch: "main"}, filepath.Join(t.TempDir(), "w"), git.CloneOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = r2.Close() }()
	g.Expect(r2.Switch(t.Context(), "topic", git.SwitchOptions{})).To(Succeed())
	got := tree(t, r2.Dir())
	g.Expect(got["a"]).To(HaveSuffix(" 2"))
	g.Expect(got["l"]).To(Equal("-> a"))
	g.Expect(got).NotTo(HaveKey("m"))
	g.Expect(got).NotTo(HaveKey("n"))
	g.Expect(hasNote(r2.Checkout().Notes, git.LinkRefused)).To(Equal(1))
	changes, err := r2.Status(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(changes).To(BeEmpty(), "what was left out is no deletion")
	g.Expect(run(t, r2.Dir(), "status", "--porcelain")).To(BeEmpty())
	g.Expect(r2.Switch(t.Context(), "main", git.SwitchOptions{})).To(Succeed())
	g.Expect(tree(t, r2.Dir())).To(HaveLen(2))
}
