// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/gogit"
	"github.com/gitops-kit/sdk/git/packstore"
	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
)

var ann = git.Signature{Name: "Ann", Email: "ann@example.com"}

func drivers() map[string]driver.Driver {
	return map[string]driver.Driver{"gogit": gogit.New(gogit.Options{}), "packstore": packstore.New(packstore.Options{})}
}

// writable makes a server that ann may push to.
func writable(t testing.TB, o gitserver.Options) (*env, git.Options) {
	t.Helper()
	o.Auth.Users = map[string]string{"ann": "pw"}
	e := start(t, o)
	co := e.options(t, false)
	co.Credentials = git.Static(git.Credential{Username: "ann", Password: git.NewSecret("pw")})
	return e, co
}

func writeFile(t testing.TB, r *git.Repository, name, content string) {
	t.Helper()
	if err := r.Root().MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.Root().WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// GIT-90, GIT-92, GIT-93, GIT-95
func TestCloneCommitPush(t *testing.T) {
	for name, d := range drivers() {
		for _, backend := range []gitserver.Backend{gitserver.InProcess, gitserver.Exec} {
			for _, transport := range []string{"http", "ssh"} {
				t.Run(fmt.Sprintf("%s/%d/%s", name, backend, transport), func(t *testing.T) {
					e, o := writable(t, gitserver.Options{Backend: backend, SSH: &gitserver.SSHOptions{}})
					repo := e.srv.Repo("app")
					repo.Commit("main", gitserver.Files{"a": "1", "dir/b": "2", "dir/sub/c": "3"}, gitserver.CommitOptions{})
					repo.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{})
					url := repo.URL()
					if transport == "ssh" {
						url = repo.SSHURL()
						o = e.options(t, true)
					}
					o.Driver = d
					for _, depth := range []int{0, -1} {
						clonePush(t, client(t, url, o), repo, depth)
					}
				})
			}
		}
	}
}

func clonePush(t *testing.T, c *git.Client, repo *gitserver.Repo, depth int) {
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), "work")
	r, err := c.Clone(t.Context(), git.Reference{Branch: "main"}, dir, git.CloneOptions{Depth: depth})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(r.Close()).To(Succeed()) }()
	g.Expect(run(t, dir, "fsck", "--strict")).To(BeEmpty())
	g.Expect(run(t, dir, "status", "--porcelain")).To(BeEmpty())
	g.Expect(run(t, dir, "symbolic-ref", "HEAD")).To(Equal("refs/heads/main"))
	st, err := r.Status(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(st).To(BeEmpty())
	_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "x"})
	g.Expect(errors.Is(err, git.ErrNothingToCommit)).To(BeTrue(), "%v", err)

	writeFile(t, r, "dir/new/d", fmt.Sprint("4", depth))
	writeFile(t, r, "a", fmt.Sprint("changed", depth))
	g.Expect(r.Root().RemoveAll("dir/sub")).To(Succeed())
	_ = r.Root().Remove("link")
	g.Expect(r.Root().Symlink("nowhere", "link")).To(Succeed())
	st, err = r.Status(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(st).NotTo(BeEmpty())
	commit, err := r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "change"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(run(t, dir, "fsck", "--strict")).To(BeEmpty())
	g.Expect(run(t, dir, "status", "--porcelain")).To(BeEmpty())
	res, err := r.Push(t.Context(), git.PushOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res).To(HaveLen(1))
	g.Expect(res[0].OK).To(BeTrue())
	g.Expect(string(repo.Head("main"))).To(Equal(commit.Hash.String()))

	out := filepath.Join(t.TempDir(), "check")
	resolved, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = c.Checkout(t.Context(), resolved, out, git.CheckoutOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmp.Diff(tree(t, dir), tree(t, out))).To(BeEmpty())
	g.Expect(r.Root().MkdirAll("dir/sub", 0o755)).To(Succeed())
	writeFile(t, r, "dir/sub/c", "back") // for the next round
	_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "back"})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = r.Push(t.Context(), git.PushOptions{})
	g.Expect(err).NotTo(HaveOccurred())
}

// GIT-90: an empty remote.
func TestCloneEmpty(t *testing.T) {
	for _, backend := range []gitserver.Backend{gitserver.InProcess, gitserver.Exec} {
		g := NewWithT(t)
		e, o := writable(t, gitserver.Options{Backend: backend})
		repo := e.srv.Repo("app")
		c := client(t, repo.URL(), o)
		dir := filepath.Join(t.TempDir(), "work")
		r, err := c.Clone(t.Context(), git.Reference{Branch: "fresh"}, dir, git.CloneOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		branch, head := r.Head()
		g.Expect(branch).To(Equal("fresh"))
		g.Expect(head.IsZero()).To(BeTrue())
		writeFile(t, r, "first", "1")
		commit, err := r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "first"})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(commit.Parents).To(BeEmpty())
		_, err = r.Push(t.Context(), git.PushOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(repo.Head("fresh"))).To(Equal(commit.Hash.String()))
		g.Expect(run(t, dir, "fsck", "--strict")).NotTo(ContainSubstring("error"))
		g.Expect(r.Close()).To(Succeed())
	}
}

// GIT-95, GIT-96
func TestPushRefusals(t *testing.T) {
	g := NewWithT(t)
	e, o := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	c := client(t, repo.URL(), o)
	open := func() *git.Repository {
		r, err := c.Clone(t.Context(), git.Reference{Branch: "main"}, filepath.Join(t.TempDir(), "w"), git.CloneOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		t.Cleanup(func() { _ = r.Close() })
		writeFile(t, r, "mine", t.Name())
		_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "mine"})
		g.Expect(err).NotTo(HaveOccurred())
		return r
	}
	r := open()
	theirs := repo.Commit("main", gitserver.Files{"b": "2"}, gitserver.CommitOptions{})
	packs := repo.Stats().Pushes
	for _, lease := range []bool{false, true} {
		_, err := r.Push(t.Context(), git.PushOptions{Lease: lease})
		var nf *git.NonFastForwardError
		g.Expect(errors.As(err, &nf)).To(BeTrue(), "%v", err)
		g.Expect(errors.Is(err, git.ErrNonFastForward)).To(BeTrue())
		g.Expect(nf.Actual.String()).To(Equal(string(theirs)))
	}
	g.Expect(repo.Stats().Pushes).To(Equal(packs), "nothing was sent")
	g.Expect(repo.Head("main")).To(Equal(theirs))

	// A race between listing and push is the server's to refuse.
	r = open()
	raced := false
	repo.Configure(func(o *gitserver.RepoOptions) {
		o.BetweenListAndFetch = func(repo *gitserver.Repo) {
			if !raced {
				raced = true
				theirs = repo.Commit("main", gitserver.Files{"c": "3"}, gitserver.CommitOptions{})
			}
		}
	})
	_, err := r.Push(t.Context(), git.PushOptions{})
	g.Expect(errors.Is(err, git.ErrNonFastForward)).To(BeTrue(), "%v", err)
	g.Expect(repo.Head("main")).To(Equal(theirs))
	repo.Configure(func(o *gitserver.RepoOptions) { o.BetweenListAndFetch = nil; o.Protected = []string{"refs/heads/main"} })

	r = open()
	res, err := r.Push(t.Context(), git.PushOptions{})
	g.Expect(errors.Is(err, git.ErrPushRejected)).To(BeTrue(), "%v", err)
	g.Expect(res[0].OK).To(BeFalse())
	g.Expect(res[0].Rejected).NotTo(BeEmpty())
	g.Expect(repo.Head("main")).To(Equal(theirs))
	repo.Configure(func(o *gitserver.RepoOptions) { o.Protected = nil })

	// Several references at once, a new branch, options, atomic; then delete.
	res, err = r.Push(t.Context(), git.PushOptions{
		Atomic: true, Options: []git.KV{{Key: "ci.skip"}, {Key: "a", Value: "b"}},
		Updates: []git.RefUpdate{{Src: "main"}, {Src: "HEAD", Dst: "refs/heads/topic"}},
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res).To(HaveLen(2))
	_, head := r.Head()
	g.Expect(string(repo.Head("topic"))).To(Equal(head.String()))
	_, err = r.Push(t.Context(), git.PushOptions{Updates: []git.RefUpdate{{Dst: "refs/heads/topic"}}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(repo.Head("topic"))).To(BeEmpty())
	repo.Configure(func(o *gitserver.RepoOptions) { o.Capabilities.NoAtomic = true })
	_, err = r.Push(t.Context(), git.PushOptions{Atomic: true, Updates: []git.RefUpdate{{Src: "HEAD", Dst: "refs/heads/x"}}})
	g.Expect(errors.Is(err, git.ErrUnsupported)).To(BeTrue(), "%v", err)
}

// GIT-94
func TestSwitch(t *testing.T) {
	g := NewWithT(t)
	e, o := writable(t, gitserver.Options{Backend: gitserver.Exec})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1", "d/x": "1", "gone": "1"}, gitserver.CommitOptions{})
	repo.Commit("topic", gitserver.Files{"a/b": "2", "d": "file", "e": "3"}, gitserver.CommitOptions{})
	c := client(t, repo.URL(), o)
	dir := filepath.Join(t.TempDir(), "w")
	r, err := c.Clone(t.Context(), git.Reference{Branch: "main"}, dir, git.CloneOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = r.Close() }()
	writeFile(t, r, "a", "dirty")
	err = r.Switch(t.Context(), "topic", git.SwitchOptions{})
	g.Expect(errors.Is(err, git.ErrDirty)).To(BeTrue(), "%v", err)
	g.Expect(tree(t, dir)["a"]).To(HaveSuffix("dirty"), "nothing was lost")
	g.Expect(r.Switch(t.Context(), "topic", git.SwitchOptions{Discard: true})).To(Succeed())
	g.Expect(run(t, dir, "status", "--porcelain", "-b")).To(HavePrefix("## topic"))
	g.Expect(strings.Count(run(t, dir, "status", "--porcelain", "-b"), "\n")).To(BeZero())
	g.Expect(run(t, dir, "fsck", "--strict")).To(BeEmpty())
	g.Expect(r.Switch(t.Context(), "main", git.SwitchOptions{})).To(Succeed())
	g.Expect(tree(t, dir)["d/x"]).To(HaveSuffix("1"))
	g.Expect(r.Switch(t.Context(), "new", git.SwitchOptions{})).To(Succeed())
	writeFile(t, r, "n", "1")
	_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "n"})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = r.Push(t.Context(), git.PushOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(repo.Head("new"))).NotTo(BeEmpty())
}

// GIT-98, GIT-99, GIT-T13: writers that race lose nothing.
func TestUpdateConcurrentSafe(t *testing.T) {
	g := NewWithT(t)
	e, o := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"start": ""}, gitserver.CommitOptions{})
	writers, each := 3, 5
	if os.Getenv("GITOPS_KIT_LONG") != "" {
		writers, each = 4, 100
	}
	// Some answers get lost after the push landed.
	e.srv.SetFaults(fault.Plan{Match: fault.Match{Method: "POST", Route: "receive-pack"}, Every: 4, Drop: true})
	var wg sync.WaitGroup
	errs := make(chan error, writers*each)
	for w := range writers {
		c := client(t, repo.URL(), o)
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("w%d-%d", w, i)
				_, err := c.Update(t.Context(), "main", func(_ context.Context, r *git.Repository) (git.CommitOptions, error) {
					err := r.Root().WriteFile(name, nil, 0o644)
					return git.CommitOptions{Author: ann, Message: name}, err
				}, git.UpdateOptions{Attempts: 50})
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		g.Expect(err).NotTo(HaveOccurred())
	}
	e.srv.SetFaults()
	dir := filepath.Join(t.TempDir(), "all")
	r, err := client(t, repo.URL(), o).Clone(t.Context(), git.Reference{Branch: "main"}, dir, git.CloneOptions{Depth: -1})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = r.Close() }()
	subjects := strings.Fields(run(t, dir, "log", "--format=%s", "--grep=^w"))
	seen := map[string]bool{}
	for _, s := range subjects {
		g.Expect(seen[s]).To(BeFalse(), "%s twice", s)
		seen[s] = true
	}
	g.Expect(seen).To(HaveLen(writers * each))
	g.Expect(run(t, dir, "log", "--format=%p", "--merges")).To(BeEmpty())
	es, err := os.ReadDir(o.TempDir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(es).To(BeEmpty())
}

// GIT-98, GIT-99: a server that cannot lock a reference says what it says of a
// rule, before anything is to be seen of who holds the lock. The update waits and
// begins anew; of a rule it says so, once.
func TestUpdateOvertaken(t *testing.T) {
	g := NewWithT(t)
	e, o := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"start": ""}, gitserver.CommitOptions{})
	c := client(t, repo.URL(), o)
	ran := 0
	update := func() error {
		_, err := c.Update(t.Context(), "main", func(_ context.Context, r *git.Repository) (git.CommitOptions, error) {
			ran++
			return git.CommitOptions{Author: ann, Message: "ours"}, r.Root().WriteFile("ours", []byte(fmt.Sprint(ran)), 0o644)
		}, git.UpdateOptions{})
		return err
	}
	var rejected, listings atomic.Int32
	repo.Configure(func(o *gitserver.RepoOptions) {
		o.PreReceive = func(*gitserver.Repo, []gitserver.Update) error {
			if rejected.Add(1) > 1 {
				return nil
			}
			return errors.New("cannot lock ref")
		}
		o.BetweenListAndFetch = func(r *gitserver.Repo) {
			if rejected.Load() == 1 && listings.Add(1) == 2 { // of those after the rejection
				r.Commit("main", gitserver.Files{"theirs": ""}, gitserver.CommitOptions{})
			}
		}
	})
	g.Expect(update()).To(Succeed())
	g.Expect(ran).To(Equal(2))
	files, err := repo.ReadFiles("main")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(And(HaveKey("theirs"), HaveKeyWithValue("ours", "2")))

	repo.Configure(func(o *gitserver.RepoOptions) {
		o.PreReceive = func(*gitserver.Repo, []gitserver.Update) error { return errors.New("protected") }
	})
	before := repo.Head("main")
	ran = 10
	err = update()
	g.Expect(errors.Is(err, git.ErrPushRejected)).To(BeTrue(), "%v", err)
	g.Expect(ran).To(Equal(11))
	g.Expect(repo.Head("main")).To(Equal(before))
}

// GIT-98
func TestUpdateFromBase(t *testing.T) {
	g := NewWithT(t)
	e, o := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	c := client(t, repo.URL(), o)
	update := func(content string) *git.UpdateResult {
		res, err := c.Update(t.Context(), "auto", func(_ context.Context, r *git.Repository) (git.CommitOptions, error) {
			err := r.Root().WriteFile("generated", []byte(content), 0o644)
			return git.CommitOptions{Author: ann, Message: "generated"}, err
		}, git.UpdateOptions{Base: git.Reference{Branch: "main"}, ForceFromBase: true})
		g.Expect(err).NotTo(HaveOccurred())
		return res
	}
	one := update("1")
	g.Expect(string(repo.Head("auto"))).To(Equal(one.Commit.Hash.String()))
	pushes := repo.Stats().Pushes
	g.Expect(update("1").Unchanged).To(BeTrue())
	g.Expect(repo.Stats().Pushes).To(Equal(pushes))
	repo.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{})
	two := update("2")
	g.Expect(string(repo.Head("auto"))).To(Equal(two.Commit.Hash.String()))
	g.Expect(two.Commit.Parents[0].String()).To(Equal(string(repo.Head("main"))))
	none, err := c.Update(t.Context(), "main", func(context.Context, *git.Repository) (git.CommitOptions, error) {
		return git.CommitOptions{Author: ann}, nil
	}, git.UpdateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(none.Unchanged).To(BeTrue())
}
