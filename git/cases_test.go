// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/sign"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
)

// GIT-45, GIT-60, GIT-90: a repository that was committed within another by
// accident is an empty directory, however the commit was found; only who asks
// for submodules is told that it is none.
func TestNestedRepository(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{Backend: gitserver.Exec})
	repo := e.srv.Repo("app")
	src := t.TempDir()
	run(t, src, "init", "-q", "-b", "main")
	g.Expect(os.WriteFile(filepath.Join(src, "a.yaml"), []byte("a\n"), 0o644)).To(Succeed())
	run(t, src, "init", "-q", "v")
	inner := filepath.Join(src, "v")
	g.Expect(os.WriteFile(filepath.Join(inner, "f"), []byte("x\n"), 0o644)).To(Succeed())
	run(t, inner, "add", "f")
	run(t, inner, "commit", "-q", "-m", "i")
	run(t, src, "add", ".")
	run(t, src, "commit", "-q", "-m", "o")
	run(t, src, "tag", "v0.7.3")
	run(t, src, "push", "-q", pushURL(t, e, repo), "main", "v0.7.3")
	c := client(t, repo.URL(), e.options(t, false))
	want := map[string]string{"a.yaml": "-rw-r--r-- a\n", "v/": "drwxr-xr-x"}
	for _, ref := range []git.Reference{{SemVer: ">=0.7.0"}, {Tag: "v0.7.3"}, {Branch: "main"}} {
		r, err := c.Resolve(t.Context(), ref, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		dir := filepath.Join(t.TempDir(), "out")
		_, err = c.Checkout(t.Context(), r, dir, git.CheckoutOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(cmp.Diff(want, tree(t, dir))).To(BeEmpty())
		parent := t.TempDir()
		_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{Submodules: true})
		var se *git.SubmoduleError
		g.Expect(errors.As(err, &se)).To(BeTrue(), "%v", err)
		g.Expect(se.Path).To(Equal("v"))
		g.Expect(leftovers(t, parent)).To(BeEmpty())
	}
	dir := filepath.Join(t.TempDir(), "w")
	w, err := c.Clone(t.Context(), git.Reference{Branch: "main"}, dir, git.CloneOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	st, err := w.Status(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(st).To(BeEmpty())
	g.Expect(cmp.Diff(want, tree(t, dir))).To(BeEmpty())
	g.Expect(w.Close()).To(Succeed())
}

// GIT-32, GIT-34: annotated and light tags count alike in a range, whatever
// their order and dates; a pre-release only where the range names one.
func TestSemVerKindsOfTag(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	ids := map[string]string{}
	for _, n := range []string{"A", "B", "C"} {
		ids[n] = string(repo.Commit("main", gitserver.Files{"f": n}, gitserver.CommitOptions{}))
	}
	for name, at := range map[string]string{"v1.1.0": "B", "v1.2.0-rc.1": "C", "1.2": "C", "vNext": "C"} {
		repo.Tag(name, ids[at])
	}
	repo.AnnotatedTag("v1.0.0", ids["A"], gitserver.TagOptions{When: time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)})
	c := client(t, repo.URL(), e.options(t, false))
	for expr, want := range map[string][2]string{">=1.0.0": {"v1.1.0", "B"}, ">=1.0.0-0": {"v1.2.0-rc.1", "C"}, "1.0.x": {"v1.0.0", "A"}} {
		r, err := c.Resolve(t.Context(), git.Reference{SemVer: expr}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred(), expr)
		g.Expect(r.Revision.String()).To(Equal(want[0]+"@sha1:"+ids[want[1]]), expr)
		g.Expect(r.Tag.IsZero()).To(Equal(want[1] != "A"), expr)
	}
}

// GIT-70, GIT-90, GIT-98: commits with time zones that no place has are read,
// built upon and pushed; their bytes stay as they are.
func TestOddTimeZones(t *testing.T) {
	g := NewWithT(t)
	e, o := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("base", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	_, base, err := repo.Object(repo.Head("base"))
	g.Expect(err).NotTo(HaveOccurred())
	root := strings.Fields(string(base))[1]
	raw := "tree " + root + "\nauthor A <a@x> 1600000000 +51800\ncommitter A <a@x> 1600000000 +51800\n\nm\n"
	odd := repo.PutRaw(gitserver.CommitObject, []byte(raw))
	repo.Ref("refs/heads/odd", string(odd))
	repo.Ref("refs/heads/below", string(repo.CommitTree(gitserver.Hash(root), odd)))
	c := client(t, repo.URL(), o)
	for _, branch := range []string{"odd", "below"} {
		r, err := c.Resolve(t.Context(), git.Reference{Branch: branch}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		out, err := c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		if branch == "odd" {
			g.Expect(string(out.Commit.Raw)).To(Equal(raw))
			g.Expect(out.Commit.Author.When.Unix()).To(BeEquivalentTo(1600000000))
		}
		w, err := c.Clone(t.Context(), git.Reference{Branch: branch}, filepath.Join(t.TempDir(), "w"), git.CloneOptions{Depth: -1})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(w.Close()).To(Succeed())
		res, err := c.Update(t.Context(), branch, func(_ context.Context, r *git.Repository) (git.CommitOptions, error) {
			return git.CommitOptions{Author: ann, Message: "on top"}, r.Root().WriteFile("new", nil, 0o644)
		}, git.UpdateOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(repo.Head(branch))).To(Equal(res.Commit.Hash.String()))
	}
	_, after, err := repo.Object(odd)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(after)).To(Equal(raw))
}

// GIT-70, GIT-71, GIT-82: a commit with a time zone that no place has is what was
// signed: gpg's and ssh's signatures are good for us as they are for git, also
// of a commit on top of it; with another zone they are not.
func TestOddTimeZonesSigned(t *testing.T) {
	g := NewWithT(t)
	s := signed(t, "sha1")
	s.write(t, "1")
	s.git(t, "commit", "-q", "-m", "base")
	e := start(t, gitserver.Options{Backend: gitserver.Exec})
	repo := e.srv.Repo("app")
	g.Expect(os.WriteFile(filepath.Join(s.home, "allowed"), []byte("a@example.com "+string(s.ssh)), 0o600)).To(Succeed())
	root := s.git(t, "rev-parse", "HEAD^{tree}")
	sealed := func(payload, format string) string { // the signature as a header
		file := filepath.Join(t.TempDir(), "payload")
		g.Expect(os.WriteFile(file, []byte(payload), 0o600)).To(Succeed())
		args := []string{"gpg", "--batch", "--quiet", "--armor", "--detach-sign", "-u", "a@example.com", "-o", file + ".sig", file}
		if format == "ssh" {
			args = []string{"ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", filepath.Join(s.home, "key"), file}
		}
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(out))
		sig, err := os.ReadFile(file + ".sig")
		g.Expect(err).NotTo(HaveOccurred())
		return "gpgsig " + strings.ReplaceAll(strings.TrimSuffix(string(sig), "\n"), "\n", "\n ") + "\n"
	}
	put := func(raw string) string {
		file := filepath.Join(t.TempDir(), "commit")
		g.Expect(os.WriteFile(file, []byte(raw), 0o600)).To(Succeed())
		return s.git(t, "hash-object", "-t", "commit", "-w", "--literally", file)
	}
	keys := sign.Keys{PGP: [][]byte{s.pgp}, SSH: [][]byte{s.ssh}}
	type signedCommit struct {
		id, raw string
		good    bool
	}
	commits := map[string]signedCommit{}
	for _, zone := range []string{"+51800", "-700", "+0000"} {
		for _, format := range []string{"openpgp", "ssh"} {
			head := "tree " + root + "\nauthor A <a@example.com> 1600000000 " + zone + "\ncommitter A <a@example.com> 1600000000 " + zone + "\n"
			header := sealed(head+"\nm\n", format)
			name := strings.TrimLeft(zone, "+-") + format
			commits[name] = signedCommit{put(head + header + "\nm\n"), head + header + "\nm\n", true}
			other := strings.ReplaceAll(head, zone, "+51801")
			commits[name+"changed"] = signedCommit{put(other + header + "\nm\n"), "", false}
			above := "tree " + root + "\nparent " + commits[name].id + "\nauthor A <a@example.com> 1600000001 " + zone + "\ncommitter A <a@example.com> 1600000001 +0000\n"
			raw := above + sealed(above+"\nm\n", format) + "\nm\n"
			commits[name+"above"] = signedCommit{put(raw), raw, true}
		}
	}
	for name, c := range commits {
		s.git(t, "update-ref", "refs/heads/"+name, c.id)
	}
	s.git(t, "push", "-q", pushURL(t, e, repo), "--all")
	c := client(t, repo.URL(), e.options(t, false))
	for name, want := range commits {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			verify := exec.CommandContext(t.Context(), "git", "-C", s.dir, "-c", "gpg.ssh.allowedSignersFile="+filepath.Join(s.home, "allowed"), "verify-commit", want.id)
			text, err := verify.CombinedOutput()
			g.Expect(err == nil).To(Equal(want.good), string(text))
			r, err := c.Resolve(t.Context(), git.Reference{Branch: name}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			parent := t.TempDir()
			out, err := c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{Verify: &git.VerifyPolicy{Mode: git.VerifyHead, Keys: keys}})
			if !want.good {
				g.Expect(errors.Is(err, git.ErrVerificationFailed)).To(BeTrue(), "%v", err)
				g.Expect(leftovers(t, parent)).To(BeEmpty())
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(out.Verified).NotTo(BeNil())
			g.Expect(string(out.Commit.Raw)).To(Equal(want.raw))
			g.Expect(out.Commit.Author.When.Unix() / 10).To(BeEquivalentTo(160000000))
		})
	}
}

// GIT-32, GIT-33: an annotated tag by its full name, and a tag of a tag, are the
// commit.
func TestTagOfTagByName(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	id := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	repo.AnnotatedTag("v1", "main", gitserver.TagOptions{})
	repo.Ref("refs/tags/v2", string(repo.TagChain(2, id)))
	c := client(t, repo.URL(), e.options(t, false))
	for _, name := range []string{"refs/tags/v1", "refs/tags/v2"} {
		r, err := c.Resolve(t.Context(), git.Reference{Name: name}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.Revision.String()).To(Equal(name + "@sha1:" + string(id)))
		out, err := c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(out.Commit.Hash.String()).To(Equal(string(id)))
	}
}
