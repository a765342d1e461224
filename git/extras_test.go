// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
)

func hasNote(notes []git.Note, k git.NoteKind) int {
	n := 0
	for _, note := range notes {
		if note.Kind == k {
			n++
		}
	}
	return n
}

// GIT-48, GIT-49
func TestSparse(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"top": "0", "a/x": "1", "a/sub/y": "2", "b/z": strings.Repeat("z", 100_000), "c": "3"}, gitserver.CommitOptions{})
	c := client(t, repo.URL(), e.options(t, false))
	for _, filter := range []bool{true, false} {
		repo.Configure(func(o *gitserver.RepoOptions) { o.Capabilities.NoFilter = !filter })
		c := client(t, repo.URL(), e.options(t, false))
		for name, tc := range map[string]struct {
			sparse []string
			want   []string
		}{
			"One":     {[]string{"a"}, []string{"a/", "a/x", "a/sub/", "a/sub/y"}},
			"Nested":  {[]string{"./a/sub/"}, []string{"a/", "a/sub/", "a/sub/y"}},
			"Overlap": {[]string{"a/sub", "a"}, []string{"a/", "a/x", "a/sub/", "a/sub/y"}},
			"All":     {[]string{"."}, []string{"a/", "a/x", "a/sub/", "a/sub/y", "b/", "b/z", "c", "top"}},
		} {
			t.Run(fmt.Sprint(name, filter), func(t *testing.T) {
				g := NewWithT(t)
				r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				dir := filepath.Join(t.TempDir(), "out")
				out, err := c.Checkout(t.Context(), r, dir, git.CheckoutOptions{Sparse: tc.sparse})
				g.Expect(err).NotTo(HaveOccurred())
				var got []string
				for p := range tree(t, dir) {
					got = append(got, p)
				}
				g.Expect(got).To(ConsistOf(tc.want))
				if name != "All" {
					want := 1
					if filter {
						want = 0
					}
					g.Expect(hasNote(out.Notes, git.FilterUnsupported)).To(Equal(want))
				}
			})
		}
	}
	r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, bad := range []string{"nope", "c", "a/x", "../a", "/a", "", "a\x00b", "a//b", strings.Repeat("a", 5000)} {
		g := NewWithT(t)
		parent := t.TempDir()
		_, err := c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{Sparse: []string{bad}})
		var se *git.SparseError
		g.Expect(errors.As(err, &se)).To(BeTrue(), "%q: %v", bad, err)
		g.Expect(errors.Is(err, git.ErrSparsePath)).To(BeTrue())
		g.Expect(leftovers(t, parent)).To(BeEmpty())
	}
}

// GIT-60, GIT-61, GIT-62, GIT-T16, N42, C18
func TestSubmodules(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{Auth: gitserver.Auth{Users: map[string]string{"ann": "pw"}}})
	lib, inner := e.srv.Repo("org/lib"), e.srv.Repo("org/inner")
	innerID := inner.Commit("main", gitserver.Files{"deep": "3"}, gitserver.CommitOptions{})
	libID := lib.Commit("main", gitserver.Files{
		"l": "2", ".gitmodules": "[submodule \"inner\"]\n\tpath = in\n\turl = ../inner\n",
	}, gitserver.CommitOptions{Nodes: map[string]gitserver.Node{"in": {Mode: "160000", ID: innerID}}})
	lib.Commit("main", gitserver.Files{"l": "later"}, gitserver.CommitOptions{})
	app := e.srv.Repo("org/app")
	commit := func(branch, modules string) {
		app.Commit(branch, gitserver.Files{"a": "1", ".gitmodules": modules}, gitserver.CommitOptions{Nodes: map[string]gitserver.Node{"vendor/lib": {Mode: "160000", ID: libID}}})
	}
	entry := func(name, url string) string {
		return fmt.Sprintf("# a comment\n[submodule %q]\n\tpath = vendor/lib\n\turl = %s\n", name, url)
	}
	commit("main", entry("lib", "../lib"))
	o := e.options(t, false)
	o.Credentials = git.Static(git.Credential{Username: "ann", Password: git.NewSecret("pw")})
	c := client(t, app.URL(), o)
	checkout := func(branch string, on bool) (map[string]string, *git.Checkout, error) {
		r, err := c.Resolve(t.Context(), git.Reference{Branch: branch}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		parent := t.TempDir()
		out, err := c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{Submodules: on})
		if err != nil {
			g.Expect(leftovers(t, parent)).To(BeEmpty())
			g.Expect(leftovers(t, o.TempDir)).To(BeEmpty())
			return nil, nil, err
		}
		return tree(t, filepath.Join(parent, "out")), out, nil
	}
	got, _, err := checkout("main", false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(HaveKey("vendor/lib/"))
	g.Expect(got).NotTo(HaveKey("vendor/lib/l"))
	got, out, err := checkout("main", true)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got["vendor/lib/l"]).To(HaveSuffix(" 2"))
	g.Expect(got["vendor/lib/in/deep"]).To(HaveSuffix(" 3"))
	g.Expect(out.Submodules).To(HaveLen(2))

	r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	exported := map[string]bool{}
	_, err = c.Export(t.Context(), r, func(fs.FS) (git.Sink, error) {
		return func(p string, _ fs.FileMode, _ int64, _ io.Reader) error { exported[p] = true; return nil }, nil
	}, git.CheckoutOptions{Submodules: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(exported).To(HaveKey("vendor/lib/in/deep"))

	for i, bad := range []struct {
		name, url string
		want      error
	}{
		{"lib", "file:///etc", git.ErrInvalidURL},
		{"lib", "ext::sh -c id", git.ErrInvalidURL},
		{"lib", "../../../../other", git.ErrInvalidURL},
		{"lib", "ssh://-oProxyCommand=x/y", git.ErrInvalidURL},
		{"../x", "../lib", git.ErrSubmodule},
		{"lib", "http://169.254.169.254/x", git.ErrAddressBlocked},
		{"lib", "http://127.0.0.1:1/x", git.ErrAddressBlocked},
		{"lib", "../app", git.ErrSubmodule},
	} {
		branch := fmt.Sprint("bad", i)
		commit(branch, entry(bad.name, bad.url))
		_, _, err := checkout(branch, true)
		g.Expect(errors.Is(err, bad.want)).To(BeTrue(), "%v: %v", bad, err)
		var se *git.SubmoduleError
		g.Expect(errors.As(err, &se)).To(BeTrue(), "%v", err)
		g.Expect(se.Path).To(Equal("vendor/lib"))
	}
	commit("missing", "")
	_, _, err = checkout("missing", true)
	g.Expect(errors.Is(err, git.ErrSubmodule)).To(BeTrue(), "%v", err)
	o.Limits.SubmoduleDepth = 1
	c = client(t, app.URL(), o)
	_, _, err = checkout("main", true)
	var le *git.LimitError
	g.Expect(errors.As(err, &le)).To(BeTrue(), "%v", err)
	g.Expect(le.Name).To(Equal("submodule-depth"))
}

// GIT-65, GIT-66, GIT-67, GIT-T5
func TestLFS(t *testing.T) {
	for _, transport := range []string{"http", "ssh"} {
		t.Run(transport, func(t *testing.T) {
			g := NewWithT(t)
			e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
			repo := e.srv.Repo("app")
			big := strings.Repeat("large content\n", 10_000)
			pointer := repo.LFSPointer(big)
			repo.Commit("main", gitserver.Files{
				".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\nplain/** -filter\n",
				"a.bin":          pointer, "sub/b.bin": pointer, "plain/c.bin": pointer, "d.txt": pointer,
			}, gitserver.CommitOptions{})
			url := repo.URL()
			if transport == "ssh" {
				url = repo.SSHURL()
			}
			o := e.options(t, transport == "ssh")
			if transport == "ssh" { // the API is on another port, and so is not the configured address
				c := client(t, url, o)
				r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{LFS: true})
				g.Expect(errors.Is(err, git.ErrAddressBlocked)).To(BeTrue(), "%v", err)
				o.Net.AllowCIDR = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			}
			c := client(t, url, o)
			r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			for _, sparse := range [][]string{nil, {"sub"}} {
				dir := filepath.Join(t.TempDir(), "out")
				_, err = c.Checkout(t.Context(), r, dir, git.CheckoutOptions{LFS: true, Sparse: sparse})
				g.Expect(err).NotTo(HaveOccurred())
				b, err := os.ReadFile(filepath.Join(dir, "sub/b.bin"))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(string(b) == big).To(BeTrue())
				if sparse == nil {
					got := tree(t, dir)
					g.Expect(cmp.Diff(got["sub/b.bin"], got["a.bin"])).To(BeEmpty())
					g.Expect(got["plain/c.bin"]).To(HaveSuffix(pointer))
					g.Expect(got["d.txt"]).To(HaveSuffix(pointer))
				}
			}
			dir := filepath.Join(t.TempDir(), "off")
			_, err = c.Checkout(t.Context(), r, dir, git.CheckoutOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(tree(t, dir)["a.bin"]).To(HaveSuffix(pointer))
		})
	}
}
