// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
)

// env is a server with a way to make clients for it.
type env struct {
	srv  *gitserver.Server
	priv []byte
}

func start(t testing.TB, o gitserver.Options) *env {
	t.Helper()
	e := &env{}
	if o.SSH != nil {
		priv, pub, err := gitserver.NewKey(gitserver.Ed25519, "")
		if err != nil {
			t.Fatal(err)
		}
		e.priv = priv
		if o.Auth.AuthorizedKeys == nil {
			o.Auth.AuthorizedKeys = map[string]string{}
		}
		o.Auth.AuthorizedKeys[pub] = "ann"
		o.Auth.AnonymousRead = true
	}
	e.srv = gitserver.Start(t, o)
	return e
}

func (e *env) options(t testing.TB, ssh bool) git.Options {
	t.Helper()
	o := git.Options{TempDir: t.TempDir()}
	if ssh {
		o.SSH.KnownHosts = e.srv.KnownHosts(gitserver.Plain)
		o.Credentials = git.Static(git.Credential{SSHKey: git.NewSecret(string(e.priv))})
		return o
	}
	if ca := e.srv.CA(); len(ca) > 0 {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		o.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return o
}

func client(t testing.TB, url string, o git.Options) *git.Client {
	t.Helper()
	c, err := git.New(url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// tree reads a directory as path → mode and content.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if rel == "." {
			return nil
		}
		if rel == ".git" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			out[rel+"/"] = info.Mode().String()
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			out[rel] = "-> " + target
			return err
		default:
			b, err := os.ReadFile(p)
			out[rel] = info.Mode().String() + " " + string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func run(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com")
	b, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, b)
	}
	return strings.TrimSpace(string(b))
}

// GIT-31, GIT-32, GIT-33, GIT-34, GIT-42, GIT-45
func TestResolveAndCheckout(t *testing.T) {
	for name, o := range map[string]gitserver.Options{
		"InProcess": {TLS: true, SSH: &gitserver.SSHOptions{}},
		"Program":   {TLS: true, SSH: &gitserver.SSHOptions{}, Backend: gitserver.Exec},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, o)
			repo := e.srv.Repo("org/app")
			first := string(repo.Commit("main", gitserver.Files{"a.yaml": "one", "dir/b.yaml": "two"}, gitserver.CommitOptions{}))
			repo.AnnotatedTag("v1.0.0", "main", gitserver.TagOptions{})
			second := string(repo.Commit("main", gitserver.Files{"a.yaml": "three"}, gitserver.CommitOptions{}))
			repo.Tag("v1.1.0", "main")
			third := string(repo.Commit("topic", gitserver.Files{"c.yaml": "four"}, gitserver.CommitOptions{}))
			repo.Ref("refs/pull/1/head", third)
			for transport, url := range map[string]string{"https": repo.URL(), "ssh": repo.SSHURL()} {
				t.Run(transport, func(t *testing.T) {
					c := client(t, url, e.options(t, transport == "ssh"))
					kinds(t, c, first, second, third)
				})
			}
		})
	}
}

func kinds(t *testing.T, c *git.Client, first, second, third string) {
	cases := map[string]struct {
		reason   string
		ref      git.Reference
		revision string
		file     string
	}{
		"Head":     {"the zero reference is HEAD", git.Reference{}, "main@sha1:" + second, "three"},
		"Branch":   {"a branch", git.Reference{Branch: "main"}, "main@sha1:" + second, "three"},
		"Tag":      {"an annotated tag is peeled", git.Reference{Tag: "v1.0.0"}, "v1.0.0@sha1:" + first, "one"},
		"SemVer":   {"the greatest tag", git.Reference{SemVer: ">=1.0.0"}, "v1.1.0@sha1:" + second, "three"},
		"Name":     {"a reference on no branch", git.Reference{Name: "refs/pull/1/head"}, "refs/pull/1/head@sha1:" + third, ""},
		"TagName":  {"annotated tag by its full name", git.Reference{Name: "refs/tags/v1.0.0"}, "refs/tags/v1.0.0@sha1:" + first, "one"},
		"Peeled":   {"the suffix is kept in the revision", git.Reference{Name: "refs/tags/v1.0.0^{}"}, "refs/tags/v1.0.0^{}@sha1:" + first, "one"},
		"Commit":   {"a commit that is no tip", git.Reference{Commit: first}, "sha1:" + first, "one"},
		"OnBranch": {"a commit in the branch's history", git.Reference{Commit: first, Branch: "main"}, "main@sha1:" + first, "one"},
		"Both":     {"commit beats everything", git.Reference{Commit: first, Tag: "v1.1.0", SemVer: "*", Name: "refs/heads/topic"}, "sha1:" + first, "one"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, err := c.Resolve(t.Context(), tc.ref, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred(), tc.reason)
			g.Expect(r.Revision.String()).To(Equal(tc.revision), tc.reason)
			dir := filepath.Join(t.TempDir(), "out")
			out, err := c.Checkout(t.Context(), r, dir, git.CheckoutOptions{})
			g.Expect(err).NotTo(HaveOccurred(), tc.reason)
			g.Expect(out.Commit.Hash).To(Equal(r.Commit))
			if tc.file != "" {
				b, err := os.ReadFile(filepath.Join(dir, "a.yaml"))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(string(b)).To(Equal(tc.file), tc.reason)
			}
			g.Expect(leftovers(t, filepath.Dir(dir))).To(ConsistOf("out"), "nothing is left beside the result")
			again, err := c.Resolve(t.Context(), tc.ref, git.ResolveOptions{Known: r.Revision})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(again.Unchanged).To(BeTrue(), "GIT-37")
		})
	}
}

func leftovers(t testing.TB, dir string) []string {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range es {
		out = append(out, e.Name())
	}
	return out
}

// GIT-37: what is known is recognised; for a commit nobody is asked.
func TestResolveKnown(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	first := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	c := client(t, repo.URL(), e.options(t, false))
	for _, ref := range []git.Reference{{Branch: "main"}, {Commit: string(first)}} {
		r, err := c.Resolve(t.Context(), ref, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.Unchanged).To(BeFalse())
		before := repo.Stats()
		r, err = c.Resolve(t.Context(), ref, git.ResolveOptions{Known: r.Revision})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.Unchanged).To(BeTrue())
		if ref.Commit != "" {
			g.Expect(cmp.Diff(before, repo.Stats())).To(BeEmpty())
		}
		if ref.Branch != "" {
			known := r.Revision
			repo.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{})
			r, err = c.Resolve(t.Context(), ref, git.ResolveOptions{Known: known})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(r.Unchanged).To(BeFalse())
		}
	}
}

// GIT-35, GIT-30, GIT-36
func TestResolveErrors(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{})
	other := string(repo.Commit("other", gitserver.Files{"x": "y"}, gitserver.CommitOptions{}))
	repo.Tag("v1.0.0", "main")
	e.srv.Repo("empty")
	c := client(t, repo.URL(), e.options(t, false))
	cases := map[string]struct {
		reason string
		url    string
		ref    git.Reference
		want   error
		code   string
		final  bool
	}{
		"NoBranch":    {"a branch that is not there", "", git.Reference{Branch: "mai"}, git.ErrRefNotFound, "GitOperationFailed", false},
		"NoTag":       {"a tag that is not there", "", git.Reference{Tag: "v1"}, git.ErrRefNotFound, "GitOperationFailed", false},
		"NoVersion":   {"no tag in the range", "", git.Reference{SemVer: ">2.0.0"}, git.ErrNoSemverMatch, "GitOperationFailed", false},
		"BadRange":    {"a range that is none", "", git.Reference{SemVer: "nope"}, git.ErrInvalidRef, "GitOperationFailed", true},
		"BadName":     {"a name below nothing", "", git.Reference{Name: "main"}, git.ErrInvalidRef, "GitOperationFailed", true},
		"Slash":       {"a name with a slash at its end", "", git.Reference{Name: "refs/heads/main/"}, git.ErrInvalidRef, "GitOperationFailed", true},
		"BadBranch":   {"a branch that no reference can have", "", git.Reference{Branch: "a..b"}, git.ErrInvalidRef, "GitOperationFailed", true},
		"Short":       {"an abbreviation", "", git.Reference{Commit: "abcdef"}, git.ErrInvalidRef, "GitOperationFailed", true},
		"Empty":       {"a repository without references", "empty", git.Reference{Branch: "main"}, git.ErrEmptyRepository, "EmptyGitRepository", false},
		"EmptyHead":   {"HEAD of an empty repository", "empty", git.Reference{}, git.ErrEmptyRepository, "EmptyGitRepository", false},
		"EmptyRange":  {"a range in an empty repository", "empty", git.Reference{SemVer: "*"}, git.ErrEmptyRepository, "EmptyGitRepository", false},
		"NoRepo":      {"no such repository", "nope", git.Reference{}, git.ErrRepositoryNotFound, "GitOperationFailed", false},
		"NotOnBranch": {"a commit of another branch", "", git.Reference{Commit: other, Branch: "main"}, git.ErrCommitNotOnBranch, "GitOperationFailed", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := c
			if tc.url != "" {
				c = client(t, strings.Replace(repo.URL(), "/app", "/"+tc.url, 1), e.options(t, false))
			}
			_, err := c.Resolve(t.Context(), tc.ref, git.ResolveOptions{})
			g.Expect(errors.Is(err, tc.want)).To(BeTrue(), "%s: %v", tc.reason, err)
			var ge *git.Error
			g.Expect(errors.As(err, &ge)).To(BeTrue())
			g.Expect(ge.Reason()).To(Equal(tc.code))
			g.Expect(ge.Terminal()).To(Equal(tc.final), "%v", err)
		})
	}
}

// GIT-T3, GIT-45, GIT-46, GIT-47: the same files as git checks out.
func TestSameTreeAsGit(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{Backend: gitserver.Exec})
	src := t.TempDir()
	run(t, src, "init", "-q", "-b", "main")
	for name, content := range map[string]string{
		"plain": "text\n", "exec.sh": "#!/bin/sh\n", "empty": "", ".gitignore": "*.tmp", ".github/w.yaml": "y", "git~": "z",
		"..a": "1", `a\x2db.service`: "2", "aux.yaml": "3", "dir with space/ü.txt": "4", "deep/a/b/c/d/e/f": "5", "crlf": "a\r\nb\r\n",
		"a-b": "6", "a/x": "7", "a.b": "8", "big": strings.Repeat("0123456789abcdef\n", 20000),
	} {
		p := filepath.Join(src, name)
		g.Expect(os.MkdirAll(filepath.Dir(p), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(p, []byte(content), 0o644)).To(Succeed())
	}
	g.Expect(os.Chmod(filepath.Join(src, "exec.sh"), 0o755)).To(Succeed())
	for link, target := range map[string]string{"link": "plain", "abs": "/etc/passwd", "up": "../../x", "dangling": "nope", "dirlink": "deep/a"} {
		g.Expect(os.Symlink(target, filepath.Join(src, link))).To(Succeed())
	}
	run(t, src, "add", "-A")
	run(t, src, "commit", "-q", "-m", "one")
	for i := range 6 { // grow delta chains
		p := filepath.Join(src, "big")
		b, _ := os.ReadFile(p)
		g.Expect(os.WriteFile(p, append(b, byte('0'+i), '\n'), 0o644)).To(Succeed())
		run(t, src, "commit", "-q", "-a", "-m", "more")
	}
	run(t, src, "repack", "-q", "-a", "-d", "-f", "--depth=50")
	repo := e.srv.Repo("app")
	run(t, src, "push", "-q", pushURL(t, e, repo), "main")
	c := client(t, repo.URL(), e.options(t, false))
	r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	dir := filepath.Join(t.TempDir(), "out")
	_, err = c.Checkout(t.Context(), r, dir, git.CheckoutOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmp.Diff(tree(t, src), tree(t, dir))).To(BeEmpty())
}

// pushURL is where the git program may push.
func pushURL(t testing.TB, e *env, r *gitserver.Repo) string {
	t.Helper()
	e.srv.SetAuth(gitserver.Auth{Users: map[string]string{"ann": "pw"}, AnonymousRead: true})
	return strings.Replace(r.URL(), "://", "://ann:pw@", 1)
}

// GIT-42, GIT-18
func TestCheckoutLeavesNothing(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": strings.Repeat("x", 1000), "b": "y"}, gitserver.CommitOptions{})
	o := e.options(t, false)
	o.Limits.Bytes = 100
	c := client(t, repo.URL(), o)
	r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	parent := t.TempDir()
	_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{})
	var le *git.LimitError
	g.Expect(errors.As(err, &le)).To(BeTrue(), "%v", err)
	g.Expect(le.Name).To(Equal("worktree-bytes"))
	g.Expect(leftovers(t, parent)).To(BeEmpty())
	g.Expect(leftovers(t, o.TempDir)).To(BeEmpty())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Checkout(ctx, r, filepath.Join(parent, "out"), git.CheckoutOptions{})
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
	g.Expect(leftovers(t, parent)).To(BeEmpty())

	full := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(full, "mine"), nil, 0o600)).To(Succeed())
	_, err = c.Checkout(t.Context(), r, full, git.CheckoutOptions{})
	g.Expect(errors.Is(err, git.ErrInvalidOption)).To(BeTrue(), "a directory with content is refused: %v", err)
	g.Expect(leftovers(t, full)).To(ConsistOf("mine"))
}

// GIT-42: an empty directory is replaced, and so is a link to one, whose target
// stays; what came into it meanwhile stays, too.
func TestCheckoutTargets(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	for name, prepare := range map[string]func(g Gomega, out string){
		"Absent": func(Gomega, string) {},
		"Empty":  func(g Gomega, out string) { g.Expect(os.Mkdir(out, 0o700)).To(Succeed()) },
		"Link": func(g Gomega, out string) {
			g.Expect(os.Mkdir(out+".target", 0o700)).To(Succeed())
			g.Expect(os.Symlink("out.target", out)).To(Succeed())
		},
		"Meanwhile": nil,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			parent := t.TempDir()
			out := filepath.Join(parent, "out")
			o := e.options(t, false)
			if prepare != nil {
				prepare(g, out)
			} else {
				o.Observe = func(ev git.Event) {
					if ev.Kind == "write" {
						g.Expect(os.MkdirAll(out, 0o700)).To(Succeed())
						g.Expect(os.WriteFile(filepath.Join(out, "theirs"), []byte("x"), 0o600)).To(Succeed())
					}
				}
			}
			c := client(t, repo.URL(), o)
			r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = c.Checkout(t.Context(), r, out, git.CheckoutOptions{})
			want := []string{"out"}
			if name == "Link" {
				want = append(want, "out.target")
			}
			if name == "Meanwhile" {
				g.Expect(errors.Is(err, fs.ErrExist)).To(BeTrue(), "%v", err)
				g.Expect(leftovers(t, out)).To(ConsistOf("theirs"))
			} else {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(leftovers(t, out)).To(ConsistOf("a"))
			}
			g.Expect(leftovers(t, parent)).To(ConsistOf(want))
		})
	}
}
