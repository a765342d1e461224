// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
)

// GIT-T16, C03: links of every kind and names that only look odd are checked
// out as the git program does it, and the link policies do what they say.
func TestC03LinksAndNames(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{Backend: gitserver.Exec})
	repo := e.srv.Repo("app")
	src := t.TempDir()
	run(t, src, "init", "-q", "-b", "main")
	files := []string{
		"bin/tool", `units/a\x2db.service`, "aux.yaml", "con", "nul.txt", ".gitignore", ".github/w.yaml", "git~", "git~x", "..a", "...", "a..b",
		".gitattributes", ".gitkeep", "gitmodules", "CASE", "case", "trailing.", "trailing ", "a:b", "tab\tname", "ü", "-rf", "#x#", "*", "a b",
	}
	for _, f := range files {
		g.Expect(os.MkdirAll(filepath.Join(src, filepath.Dir(f)), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(src, f), []byte("content of "+f), 0o600)).To(Succeed())
	}
	links := map[string]string{
		"bin/same": "tool", "bin/up": "../aux.yaml", "bin/round": "../bin/../bin/tool", "dir": "units", "deep/er/back": "../../bin/tool",
		"absolute": "/etc/hostname", "absolutedir": "/usr", "outside": "../../../x", "dangling": "nowhere", "self": "self", "dot": ".", "slash": "units/",
	}
	g.Expect(os.MkdirAll(filepath.Join(src, "deep", "er"), 0o755)).To(Succeed())
	for name, target := range links {
		g.Expect(os.Symlink(target, filepath.Join(src, name))).To(Succeed())
	}
	run(t, src, "add", "-A")
	run(t, src, "commit", "-q", "-m", "m")
	run(t, src, "push", "-q", pushURL(t, e, repo), "main")
	theirs := filepath.Join(t.TempDir(), "theirs")
	run(t, src, "clone", "-q", "-b", "main", src, theirs)
	want := tree(t, theirs)
	for name, target := range links {
		g.Expect(want).To(HaveKeyWithValue(name, "-> "+target))
	}

	c := client(t, repo.URL(), e.options(t, false))
	r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	ours := filepath.Join(t.TempDir(), "ours")
	out, err := c.Checkout(t.Context(), r, ours, git.CheckoutOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmp.Diff(want, tree(t, ours))).To(BeEmpty())
	g.Expect(out.Notes).To(BeEmpty())

	ours = filepath.Join(t.TempDir(), "ours")
	_, err = c.Checkout(t.Context(), r, ours, git.CheckoutOptions{Symlinks: git.LinksSkip})
	g.Expect(err).NotTo(HaveOccurred())
	for name := range links {
		delete(want, name)
	}
	g.Expect(cmp.Diff(want, tree(t, ours))).To(BeEmpty())

	parent := t.TempDir()
	_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "ours"), git.CheckoutOptions{Symlinks: git.LinksFail})
	g.Expect(errors.Is(err, git.ErrLink)).To(BeTrue(), "%v", err)
	g.Expect(leftovers(t, parent)).To(BeEmpty())
}

// atLimit is a repository that needs exactly so much of one limit.
type atLimit struct {
	name  string
	exact int64
	set   func(*git.Limits, int64)
	ref   git.Reference
	serve []byte // the pack, where the server is to send this one
}

// GIT-T16, C04: what is as large as a limit passes, one less is that limit's
// error and leaves nothing, and a negative value is no limit.
func TestC04LargestAccepted(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	lib := e.srv.Repo("lib")
	id := lib.Commit("main", gitserver.Files{"x": "1"}, gitserver.CommitOptions{})
	big := strings.Repeat("0123456789", 1000)
	repo.Commit("main", gitserver.Files{"a": "12345", "d/e/f": big, "d/g": "1"}, gitserver.CommitOptions{
		Nodes: map[string]gitserver.Node{"l": {Mode: "120000", Content: "a"}},
	})
	commit := repo.CommitOnly(gitserver.Files{"a": "1"}, gitserver.CommitOptions{Message: strings.Repeat("m", 5000)})
	repo.Ref("refs/heads/wordy", string(commit))
	_, raw, err := repo.Object(commit)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	repo.Ref("refs/tags/chain", string(repo.TagChain(4, repo.Head("main"))))
	repo.Ref("refs/heads/modules", "main")
	repo.Submodule("modules", "s", "../lib", id, gitserver.CommitOptions{})

	// A pack of which every figure is known: commit, tree, and a chain of two
	// deltas on a blob.
	base := strings.Repeat("base ", 400)
	first := gitserver.Delta(2000, 2001, gitserver.DeltaCopy(0, 2000), gitserver.DeltaInsert([]byte("x")))
	second := gitserver.Delta(2001, 2002, gitserver.DeltaCopy(0, 2001), gitserver.DeltaInsert([]byte("y")))
	served := e.srv.Repo("served")
	tip := served.Commit("main", gitserver.Files{"a": base, "b": base + "x", "c": base + "xy"}, gitserver.CommitOptions{})
	_, commitBody, err := served.Object(tip)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	root := gitserver.Hash(strings.Fields(string(commitBody))[1])
	_, treeBody, err := served.Object(root)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	pack := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) {
		b.Object(gitserver.CommitObject, commitBody)
		b.Object(gitserver.TreeObject, treeBody)
		b.OfsDelta(b.OfsDelta(b.Object(gitserver.BlobObject, []byte(base)), first), second)
	})
	served.ServePack(func(w io.Writer) error { _, err := w.Write(pack); return err })
	inflated := len(commitBody) + len(treeBody) + len(base) + len(first) + 2001 + len(second) + 2002

	main := git.Reference{Branch: "main"}
	for _, tc := range []atLimit{
		{"git-refs", 5, func(l *git.Limits, n int64) { l.Refs = n }, git.Reference{}, nil},
		{"git-pack", int64(len(pack)), func(l *git.Limits, n int64) { l.Pack = n }, main, pack},
		{"git-inflated", int64(inflated), func(l *git.Limits, n int64) { l.Inflated = n }, main, pack},
		{"git-object", 2002, func(l *git.Limits, n int64) { l.Object = n }, main, pack},
		{"git-objects", 5, func(l *git.Limits, n int64) { l.Objects = n }, main, pack},
		{"git-delta-depth", 2, func(l *git.Limits, n int64) { l.DeltaDepth = n }, main, pack},
		{"git-tree-depth", 2, func(l *git.Limits, n int64) { l.TreeDepth = n }, main, nil},
		{"git-tag-chain", 4, func(l *git.Limits, n int64) { l.TagChain = n }, git.Reference{Tag: "chain"}, nil},
		{"git-meta", int64(len(raw)), func(l *git.Limits, n int64) { l.Meta = n }, git.Reference{Branch: "wordy"}, nil},
		{"worktree-files", 6, func(l *git.Limits, n int64) { l.Files = n }, main, nil}, // a, d, d/e, d/e/f, d/g, l
		{"worktree-bytes", int64(5 + len(big) + 1 + 1), func(l *git.Limits, n int64) { l.Bytes = n }, main, nil},
		{"worktree-depth", 2, func(l *git.Limits, n int64) { l.Depth = n }, main, nil},
		{"submodules", 1, func(l *git.Limits, n int64) { l.Submodules = n }, git.Reference{Branch: "modules"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := NewWithT(t)
			at := repo
			if tc.serve != nil {
				at = served
			}
			g.Expect(tc.try(t, e, at, tc.exact)).To(Succeed(), "the limit itself")
			g.Expect(tc.try(t, e, at, -1)).To(Succeed(), "no limit")
			if tc.exact == 1 { // zero is the default
				return
			}
			g.Expect(limitName(t, tc.try(t, e, at, tc.exact-1))).To(Equal(tc.name))
		})
	}
	t.Run("link-target", func(t *testing.T) {
		g := NewWithT(t)
		target := strings.Repeat("t", 50)
		repo.Commit("link", gitserver.Files{"a": "1"}, gitserver.CommitOptions{Nodes: map[string]gitserver.Node{"l": {Mode: "120000", Content: target}}})
		for n, want := range map[int64]string{50: "-> " + target, 49: ""} {
			o := e.options(t, false)
			o.Limits.LinkTarget = n
			c := client(t, repo.URL(), o)
			r, err := c.Resolve(t.Context(), git.Reference{Branch: "link"}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			dir := filepath.Join(t.TempDir(), "out")
			out, err := c.Checkout(t.Context(), r, dir, git.CheckoutOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(tree(t, dir)["l"]).To(Equal(want))
			g.Expect(len(out.Notes)).To(Equal(int(50 - n)))
		}
	})
}

// try uses the repository with so much of the limit.
func (l atLimit) try(t *testing.T, e *env, repo *gitserver.Repo, n int64) error {
	t.Helper()
	g := NewWithT(t)
	o := e.options(t, false)
	l.set(&o.Limits, n)
	c := client(t, repo.URL(), o)
	if l.name == "git-refs" {
		_, err := c.List(t.Context(), git.ListOptions{})
		return err
	}
	r, err := c.Resolve(t.Context(), l.ref, git.ResolveOptions{})
	if err != nil {
		return err
	}
	parent := t.TempDir()
	_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{Submodules: l.name == "submodules"})
	if err != nil {
		g.Expect(leftovers(t, parent)).To(BeEmpty())
	}
	g.Expect(leftovers(t, o.TempDir)).To(BeEmpty())
	return err
}

// GIT-T16, C08: a loopback host that is configured is reached without further
// ado; one that a server names is reached when its range is listed, and only then.
func TestC08ConfiguredAndListedHosts(t *testing.T) {
	e, other := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}}), start(t, gitserver.Options{})
	lib, app := other.srv.Repo("lib"), e.srv.Repo("app")
	id := lib.Commit("main", gitserver.Files{"x": "1"}, gitserver.CommitOptions{})
	app.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	app.Ref("refs/heads/modules", "main")
	app.Submodule("modules", "s", lib.URL(), id, gitserver.CommitOptions{})
	checkout := func(t *testing.T, url string, o git.Options, branch string) (map[string]string, error) {
		t.Helper()
		c := client(t, url, o)
		r, err := c.Resolve(t.Context(), git.Reference{Branch: branch}, git.ResolveOptions{})
		if err != nil {
			return nil, err
		}
		parent := t.TempDir()
		if _, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{Submodules: true}); err != nil {
			NewWithT(t).Expect(leftovers(t, parent)).To(BeEmpty())
			return nil, err
		}
		return tree(t, filepath.Join(parent, "out")), nil
	}
	for name, url := range map[string]string{"HTTP": app.URL(), "SSH": app.SSHURL()} {
		t.Run("Configured"+name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := checkout(t, url, e.options(t, name == "SSH"), "main")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(HaveKeyWithValue("a", "-rw-r--r-- 1"))
		})
	}
	for name, tc := range map[string]struct {
		allow, deny []string
		blocked     bool
	}{
		"NotListed":   {nil, nil, true},
		"OtherRange":  {[]string{"10.0.0.0/8", "192.168.0.0/16"}, nil, true},
		"Listed":      {[]string{"127.0.0.0/8"}, nil, false},
		"ListedOne":   {[]string{"127.0.0.1/32"}, nil, false},
		"DeniedToo":   {[]string{"127.0.0.0/8"}, []string{"127.0.0.0/8"}, true},
		"DeniedOther": {[]string{"127.0.0.0/8"}, []string{"10.0.0.0/8"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := e.options(t, false)
			o.Net.AllowCIDR, o.Net.DenyCIDR = prefixes(tc.allow), prefixes(tc.deny)
			before := len(other.srv.Log())
			got, err := checkout(t, app.URL(), o, "modules")
			if !tc.blocked {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(got).To(HaveKeyWithValue("s/x", "-rw-r--r-- 1"))
				return
			}
			g.Expect(errors.Is(err, git.ErrAddressBlocked)).To(BeTrue(), "%v", err)
			g.Expect(other.srv.Log()).To(HaveLen(before))
		})
	}
}

func prefixes(texts []string) (out []netip.Prefix) {
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// GIT-T16, C17, GIT-25: a slow line is no stalled one. Five minutes at 20 KiB/s
// pass the clock that watches a pack, as the default is and when it is ten times
// as strict; a line of less than 1 KiB in its window does not.
func TestC17SlowLine(t *testing.T) {
	for _, tc := range []struct {
		window time.Duration // zero: the default
		piece  int
		every  time.Duration
		ok     bool
	}{
		{0, 20 << 10, time.Second, true},
		{3 * time.Second, 20 << 10, time.Second, true},
		{0, 1 << 10, 29 * time.Second, true},
		{0, 1 << 10, 31 * time.Second, false},
		{3 * time.Second, 20 << 10, 4 * time.Second, false},
	} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				r, w := io.Pipe()
				p := git.NewPatient(r)
				if tc.window > 0 {
					p = git.NewPatientWindow(r, tc.window)
				}
				p.PackBegins()
				begun := time.Now()
				var wg sync.WaitGroup
				wg.Go(func() {
					for time.Since(begun) < 5*time.Minute {
						pass(tc.every)
						if _, err := w.Write(make([]byte, tc.piece)); err != nil {
							return
						}
					}
					_ = w.Close()
				})
				n, err := io.Copy(io.Discard, p)
				_ = p.Close()
				_ = r.Close()
				wg.Wait()
				if tc.ok {
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(time.Since(begun)).To(BeNumerically(">=", 5*time.Minute))
					g.Expect(n).To(BeNumerically(">=", int64(5*time.Minute/tc.every)*int64(tc.piece)))
					return
				}
				g.Expect(errors.Is(err, git.ErrStalled)).To(BeTrue(), "%v", err)
			})
		})
	}
}

// GIT-T16, C17: a clone over a line of 20 KiB/s ends well over both transports;
// one of five minutes with GITOPS_KIT_LONG=1, else of three seconds.
func TestC17SlowClone(t *testing.T) {
	size := 60 << 10
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		size = 300 * 20 << 10
	}
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
	repo := e.srv.Repo("app")
	repo.Generate(gitserver.GenOptions{Files: 4, Bytes: int64(size)})
	pack, err := repo.PackOf("HEAD")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(len(pack)).To(BeNumerically(">", size))
	e.srv.SetFaults(fault.Plan{Match: fault.Match{Route: "upload-pack"}, Throttle: 20 << 10})
	for name, url := range map[string]string{"HTTP": repo.URL(), "SSH": repo.SSHURL()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			c := client(t, url, e.options(t, name == "SSH"))
			dir := filepath.Join(t.TempDir(), "w")
			w, err := c.Clone(t.Context(), git.Reference{}, dir, git.CloneOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			st, err := w.Status(t.Context())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(st).To(BeEmpty())
			g.Expect(w.Close()).To(Succeed())
			run(t, dir, "fsck", "--strict")
		})
	}
}
