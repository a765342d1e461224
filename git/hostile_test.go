// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// refuse checks that a checkout fails with an error and leaves nothing.
func refuse(t *testing.T, repo *gitserver.Repo, ref git.Reference, o git.Options, want error) error {
	t.Helper()
	g := NewWithT(t)
	c := client(t, repo.URL(), o)
	r, err := c.Resolve(t.Context(), ref, git.ResolveOptions{})
	parent := t.TempDir()
	if err == nil {
		_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{})
	}
	g.Expect(errors.Is(err, want)).To(BeTrue(), "%v, want %v", err, want)
	g.Expect(leftovers(t, parent)).To(BeEmpty())
	g.Expect(leftovers(t, o.TempDir)).To(BeEmpty())
	return err
}

func limitName(t *testing.T, err error) string {
	t.Helper()
	var le *git.LimitError
	if !errors.As(err, &le) {
		t.Fatalf("no limit error: %v", err)
	}
	return le.Name
}

// GIT-T8, N13
func TestN13Bomb(t *testing.T) {
	for _, mirror := range []bool{false, true} {
		g := NewWithT(t)
		e := start(t, gitserver.Options{})
		repo := e.srv.Repo("app")
		id := repo.Bomb(10, 10)
		o := e.options(t, false)
		if mirror { // whose objects are doubted, and are no larger for it
			o.Mirror, _ = newMirror(t, git.MirrorOptions{})
			o.Limits.Files = 2000
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := refuse(t, repo, git.Reference{Commit: string(id)}, o, git.ErrLimit)
		runtime.ReadMemStats(&after)
		g.Expect(limitName(t, err)).To(Equal("worktree-files"))
		g.Expect(after.HeapAlloc).To(BeNumerically("<", before.HeapAlloc+200<<20))
	}
}

// N14, N15
func TestN14N15Deltas(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	id := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	serve := func(p []byte) {
		repo.ServePack(func(w io.Writer) error { _, err := w.Write(p); return err })
	}
	t.Run("Expansion", func(t *testing.T) {
		g := NewWithT(t)
		serve(repo.DeltaBomb(id, 5))
		err := refuse(t, repo, git.Reference{Branch: "main"}, e.options(t, false), git.ErrLimit)
		g.Expect(limitName(t, err)).To(BeElementOf("git-object", "git-inflated"))
	})
	t.Run("Chain", func(t *testing.T) {
		g := NewWithT(t)
		_, p := repo.DeltaChain(5_000)
		serve(p)
		err := refuse(t, repo, git.Reference{Branch: "main"}, e.options(t, false), git.ErrLimit)
		g.Expect(limitName(t, err)).To(Equal("git-delta-depth"))
	})
	t.Run("HeaderClaim", func(t *testing.T) {
		g := NewWithT(t)
		serve(gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) { b.Entry(3, 1<<61, nil, []byte("x")) }))
		err := refuse(t, repo, git.Reference{Branch: "main"}, e.options(t, false), git.ErrLimit)
		g.Expect(limitName(t, err)).To(Equal("git-object"))
	})
	t.Run("CountClaim", func(t *testing.T) {
		g := NewWithT(t)
		serve(gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) { b.Object(gitserver.BlobObject, []byte("x")); b.Count(1 << 31) }))
		err := refuse(t, repo, git.Reference{Branch: "main"}, e.options(t, false), git.ErrLimit)
		g.Expect(limitName(t, err)).To(Equal("git-objects"))
	})
	repo.ServePack(nil)
	t.Run("Trees", func(t *testing.T) {
		g := NewWithT(t)
		deep := repo.DeepTree(5000)
		err := refuse(t, repo, git.Reference{Commit: string(deep)}, e.options(t, false), git.ErrLimit)
		g.Expect(limitName(t, err)).To(BeElementOf("git-tree-depth", "worktree-depth"))
	})
	t.Run("Tags", func(t *testing.T) {
		g := NewWithT(t)
		repo.Ref("refs/tags/chain", string(repo.TagChain(1000, id)))
		err := refuse(t, repo, git.Reference{Tag: "chain"}, e.options(t, false), git.ErrLimit)
		g.Expect(limitName(t, err)).To(Equal("git-tag-chain"))
	})
}

// N16, GIT-29
func TestN16RefNames(t *testing.T) {
	for _, v0 := range []bool{false, true} {
		g := NewWithT(t)
		e := start(t, gitserver.Options{V0Only: v0})
		repo := e.srv.Repo("app")
		id := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
		for _, n := range []string{"refs/heads/../../config", "config", "refs/heads/.lock", "refs/heads/a..b", "refs/heads/x.lock"} {
			repo.SetRawRef(n, id)
		}
		c := client(t, repo.URL(), e.options(t, false))
		l, err := c.List(t.Context(), git.ListOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		for _, r := range l.Refs {
			g.Expect(r.Name).To(BeElementOf("HEAD", "refs/heads/main"))
		}
		g.Expect(hasNote(l.Notes, git.RefsDropped)).To(Equal(1))
		for _, n := range []string{"../../config", "a\x00b", ".lock", "a..b"} {
			_, err := c.Resolve(t.Context(), git.Reference{Branch: n}, git.ResolveOptions{})
			g.Expect(errors.Is(err, git.ErrInvalidRef)).To(BeTrue(), "%q: %v", n, err)
		}
	}
}

// GIT-43, GIT-44, GIT-45, GIT-T9
func TestTrees(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	blob := repo.PutRaw(gitserver.BlobObject, []byte("content"))
	raw := func(s string) []byte {
		b := make([]byte, 0, 20)
		for i := 0; i < len(s); i += 2 {
			var v byte
			_, _ = fmt.Sscanf(s[i:i+2], "%02x", &v)
			b = append(b, v)
		}
		return b
	}
	entry := func(mode, name string) string { return mode + " " + name + "\x00" + string(raw(string(blob))) }
	check := func(body string, want error) {
		t.Helper()
		commit := []byte("tree " + string(repo.PutRaw(gitserver.TreeObject, []byte(body))) + "\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nm\n")
		id := repo.PutRaw(gitserver.CommitObject, commit)
		p := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) { // a server that looks at nothing
			b.Object(gitserver.CommitObject, commit)
			b.Object(gitserver.TreeObject, []byte(body))
			b.Object(gitserver.BlobObject, []byte("content"))
		})
		repo.ServePack(func(w io.Writer) error { _, err := w.Write(p); return err })
		if want != nil {
			_ = refuse(t, repo, git.Reference{Commit: string(id)}, e.options(t, false), want)
			return
		}
		c := client(t, repo.URL(), e.options(t, false))
		r, err := c.Resolve(t.Context(), git.Reference{Commit: string(id)}, git.ResolveOptions{})
		if err == nil {
			_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
		}
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), "%q", body)
	}
	for _, n := range []string{
		".", "..", ".git", ".GIT", ".Git", ".gIT", ".git.", ".git ", ".git. .", ".git...", "git~1", "GIT~1", "git~2", "Git~9", "git~0.", ".git:x", ".git::$INDEX_ALLOCATION", ".git.:x",
		".g\u200cit", ".\u200dgit", "\ufeff.git", ".git\u200e", ".G\u202aIT", ".gi\u206at", `..\.git`, `a\..\b`, `a\.git`, `.git\config`, `\..`, `..\`, `a\git~1`, `.\x`, `x\.`, ".gi\u200ct.",
	} {
		check(entry("100644", n), git.ErrUnsafePath)
	}
	for _, n := range []string{
		".gitignore", ".gitattributes", ".gitkeep", ".github", ".gitlab-ci.yml", "git", "git~", "git~a", "git~10", ".gitx", "..a", "...", ". .a", "a..b", `a\x2db.service`, "aux.yaml", "con", "nul.txt", "com1",
		"a:b", "a.", "a ", "-rf", "--", "~", "$HOME", "`x`", "a\nb", "ü", "日本語", "a\u200cb", "*", "?", "[x]", "<", "|", "\x01", "\xff\xfe", " ", "#", "'", `"`, "%2e%2e", strings.Repeat("x", 255),
	} {
		check(entry("100644", n), nil)
	}
	for body, want := range map[string]error{
		entry("100644", "b") + entry("100644", "a"): git.ErrMalformedObject, entry("100644", "a") + entry("100644", "a"): git.ErrMalformedObject,
		entry("100644", ""): git.ErrMalformedObject, entry("100644", "a/b"): git.ErrMalformedObject, entry("100600", "a"): git.ErrMalformedObject,
		entry("40000", "a"): git.ErrMalformedObject, "100644 a": git.ErrMalformedObject, entry("00000100644", "a"): git.ErrMalformedObject,
		entry("0100644", "a"): nil, entry("100664", "a"): nil, entry("100755", "a"): nil,
	} {
		check(body, want)
	}
}

// GIT-46: file contents under mode 120000 are left out when no link can be that.
func TestLongLinks(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{Nodes: map[string]gitserver.Node{
		"script": {Mode: "120000", Content: strings.Repeat("#!/bin/sh\n", 30)}, "long": {Mode: "120000", Content: strings.Repeat("x", 5000)},
	}})
	c := client(t, repo.URL(), e.options(t, false))
	r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	for policy, want := range map[git.LinkPolicy]error{git.LinksKeep: nil, git.LinksSkip: nil, git.LinksFail: git.ErrLink} {
		dir := filepath.Join(t.TempDir(), "out")
		out, err := c.Checkout(t.Context(), r, dir, git.CheckoutOptions{Symlinks: policy})
		g.Expect(errors.Is(err, want)).To(BeTrue(), "%v", err)
		if policy == git.LinksKeep {
			g.Expect(hasNote(out.Notes, git.LinkRefused)).To(Equal(1))
			g.Expect(tree(t, dir)).To(HaveKey("script"))
			g.Expect(tree(t, dir)).NotTo(HaveKey("long"))
		}
	}
}

// N17, GIT-70
func TestN17Commits(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	tree := string(repo.Tree())
	who := "author A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n"
	for name, tc := range map[string]struct {
		body string
		want error
	}{
		"Good": {"tree " + tree + "\n" + who + "\nm\n", nil}, "OddZone": {"tree " + tree + "\nauthor A <a@x> 1600000000 +51800\ncommitter A <a@x> 1600000000 -700\n\nm", nil},
		"NoName": {"tree " + tree + "\nauthor <a@x> 1 +0000\ncommitter <a@x> 1 +0000\n\n", nil}, "Unknown": {"tree " + tree + "\n" + who + "x-header y\n more\n\nm", nil},
		"TwoTrees":   {"tree " + tree + "\ntree " + tree + "\n" + who + "\nm", git.ErrMalformedObject},
		"TwoAuthors": {"tree " + tree + "\nauthor A <a@x> 1 +0000\n" + who + "\nm", git.ErrMalformedObject},
		"TwoSigs":    {"tree " + tree + "\n" + who + "gpgsig a\ngpgsig b\n\nm", git.ErrMalformedObject},
		"NUL":        {"tree " + tree + "\nauthor A\x00 <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nm", git.ErrMalformedObject},
		"NoBlank":    {"tree " + tree + "\n" + who, git.ErrMalformedObject}, "LateTree": {who + "tree " + tree + "\n\nm", git.ErrMalformedObject},
	} {
		t.Run(name, func(t *testing.T) {
			id := repo.PutRaw(gitserver.CommitObject, []byte(tc.body))
			if tc.want != nil {
				_ = refuse(t, repo, git.Reference{Commit: string(id)}, e.options(t, false), tc.want)
				return
			}
			c := client(t, repo.URL(), e.options(t, false))
			r, err := c.Resolve(t.Context(), git.Reference{Commit: string(id)}, git.ResolveOptions{})
			if err == nil {
				_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
			}
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
		})
	}
}

// N31, GIT-T10: cut anywhere, nothing is left.
func TestN31Cut(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": strings.Repeat("0123456789", 200), "b": "2"}, gitserver.CommitOptions{})
	o := e.options(t, false)
	o.HTTP.Attempts = 1
	c := client(t, repo.URL(), o)
	r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	out, err := c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	for cut := int64(1); cut < out.Stats.Received-4; cut += 1 + out.Stats.Received/80 {
		e.srv.SetFaults(fault.Plan{Match: fault.Match{Route: "upload-pack"}, CutAfter: cut})
		parent := t.TempDir()
		_, err := c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{})
		g.Expect(err).To(HaveOccurred(), "cut at %d of %d", cut, out.Stats.Received)
		var ge *git.Error
		g.Expect(errors.As(err, &ge)).To(BeTrue())
		g.Expect(ge.Terminal()).To(BeFalse())
		g.Expect(leftovers(t, parent)).To(BeEmpty())
		g.Expect(leftovers(t, o.TempDir)).To(BeEmpty())
	}
}

// GIT-40: the pack of another commit is not taken for the resolved one.
func TestWrongPack(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("other", gitserver.Files{"a": "other"}, gitserver.CommitOptions{})
	wrong, err := repo.PackOf("other")
	g.Expect(err).NotTo(HaveOccurred())
	repo.Commit("main", gitserver.Files{"a": "main"}, gitserver.CommitOptions{})
	repo.ServePack(func(w io.Writer) error { _, err := w.Write(wrong); return err })
	_ = refuse(t, repo, git.Reference{Branch: "main"}, e.options(t, false), git.ErrMismatch)
	for i := 1; i <= 20; i++ { // every byte of the trailer counts
		flipped := append([]byte(nil), wrong...)
		flipped[len(flipped)-i] ^= 1
		repo.ServePack(func(w io.Writer) error { _, err := w.Write(flipped); return err })
		_ = refuse(t, repo, git.Reference{Branch: "main"}, e.options(t, false), git.ErrMalformedPack)
	}
}
