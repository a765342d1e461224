// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// GIT-90, GIT-62, GIT-65: a working copy with large files and submodules is
// clean, and commits do not touch either.
func TestCloneLFSAndSubmodules(t *testing.T) {
	for name, d := range drivers() {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e, o := writable(t, gitserver.Options{})
			o.Driver = d
			lib, app := e.srv.Repo("org/lib"), e.srv.Repo("org/app")
			libID := lib.Commit("main", gitserver.Files{"l": "1"}, gitserver.CommitOptions{})
			big := strings.Repeat("large content\n", 1000)
			pointer := app.LFSPointer(big)
			app.Commit("main", gitserver.Files{
				"a": "1", ".gitattributes": "*.bin filter=lfs -text\n", "x.bin": pointer, "d/y.bin": pointer,
				".gitmodules": "[submodule \"lib\"]\n\tpath = vendor/lib\n\turl = ../lib\n",
			}, gitserver.CommitOptions{Nodes: map[string]gitserver.Node{"vendor/lib": {Mode: "160000", ID: libID}}})
			c := client(t, app.URL(), o)
			dir := filepath.Join(t.TempDir(), "w")
			r, err := c.Clone(t.Context(), git.Reference{Branch: "main"}, dir, git.CloneOptions{LFS: true, Submodules: true})
			g.Expect(err).NotTo(HaveOccurred())
			defer func() { _ = r.Close() }()
			got := tree(t, dir)
			g.Expect(got["x.bin"]).To(HaveSuffix(" " + big))
			g.Expect(got["vendor/lib/l"]).To(HaveSuffix(" 1"))
			g.Expect(r.Checkout().Submodules).To(HaveLen(1))
			status := func() []git.Change {
				s, err := r.Status(t.Context())
				g.Expect(err).NotTo(HaveOccurred())
				return s
			}
			g.Expect(status()).To(BeEmpty())

			// Touched, executable, and beside a real change.
			g.Expect(os.WriteFile(filepath.Join(dir, "x.bin"), []byte(big), 0o644)).To(Succeed())
			g.Expect(status()).To(BeEmpty(), "the same content")
			g.Expect(os.Chmod(filepath.Join(dir, "d", "y.bin"), 0o755)).To(Succeed())
			writeFile(t, r, "a", "2")
			commit, err := r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "m"})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(status()).To(BeEmpty())
			_, err = r.Push(t.Context(), git.PushOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			files, err := app.ReadFiles(commit.Hash.String())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(files["x.bin"]).To(Equal(pointer))
			g.Expect(files["d/y.bin"]).To(Equal(pointer))
			g.Expect(run(t, dir, "ls-tree", "HEAD", "d/y.bin", "vendor/lib")).To(And(ContainSubstring("100755 blob"), ContainSubstring("160000 commit "+string(libID))))

			// Nothing is uploaded: another content is refused and stays where it is.
			writeFile(t, r, "x.bin", "other")
			_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "m"})
			g.Expect(errors.Is(err, git.ErrUnsupported)).To(BeTrue(), "%v", err)
			g.Expect(tree(t, dir)["x.bin"]).To(HaveSuffix(" other"))
			writeFile(t, r, "x.bin", pointer)
			g.Expect(status()).To(BeEmpty(), "the pointer is what HEAD has")
		})
	}
}

// GIT-91, GIT-101: what a repository brings configures nothing, and credentials
// are not written down.
func TestCloneIgnoresConfiguration(t *testing.T) {
	g := NewWithT(t)
	e, o := writable(t, gitserver.Options{})
	home := t.TempDir()
	marker := filepath.Join(home, "ran")
	g.Expect(os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[core]\n\thooksPath = "+home+"\n\tautocrlf = true\n[user]\n\tname = Other\n"), 0o600)).To(Succeed())
	for _, h := range []string{"post-checkout", "pre-commit", "commit-msg", "pre-push"} {
		g.Expect(os.WriteFile(filepath.Join(home, h), []byte("#!/bin/sh\necho x >"+marker+"\n"), 0o700)).To(Succeed())
	}
	t.Setenv("HOME", home)
	t.Setenv("GIT_DIR", home)
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "core.autocrlf")
	t.Setenv("GIT_CONFIG_VALUE_0", "true")
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{
		"a": "one\r\ntwo\n", ".gitattributes": "* text eol=crlf working-tree-encoding=UTF-16 ident filter=evil\n", ".lfsconfig": "[lfs]\n\turl = http://169.254.169.254/\n",
		"hooks/post-checkout": "#!/bin/sh\necho x >" + marker + "\n", "config": "[core]\n\tfsmonitor = touch " + marker + "\n",
	}, gitserver.CommitOptions{})
	for name, d := range drivers() {
		o.Driver = d
		dir := filepath.Join(t.TempDir(), name)
		r, err := client(t, repo.URL(), o).Clone(t.Context(), git.Reference{Branch: "main"}, dir, git.CloneOptions{LFS: true})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(tree(t, dir)["a"]).To(HaveSuffix(" one\r\ntwo\n"), "bytes are the blob's")
		writeFile(t, r, name, "1")
		c, err := r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "m"})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(c.Author.Name).To(Equal("Ann"))
		_, err = r.Push(t.Context(), git.PushOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		for _, f := range []string{"config", "HEAD", "index"} {
			b, err := os.ReadFile(filepath.Join(dir, ".git", f))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(b)).NotTo(ContainSubstring("pw"), f)
		}
		g.Expect(filepath.Join(dir, ".git", "hooks")).NotTo(BeADirectory())
		g.Expect(r.Close()).To(Succeed())
	}
	g.Expect(marker).NotTo(BeAnExistingFile())
}

// GIT-49, GIT-90: a sparse clone holds every blob of its set, says where the others
// are, and can be committed to; git agrees.
func TestCloneSparse(t *testing.T) {
	for name, d := range drivers() {
		for _, filter := range []bool{true, false} {
			t.Run(fmt.Sprint(name, filter), func(t *testing.T) {
				g := NewWithT(t)
				e, o := writable(t, gitserver.Options{})
				o.Driver = d
				repo := e.srv.Repo("app")
				repo.Configure(func(o *gitserver.RepoOptions) { o.Capabilities.NoFilter = !filter })
				repo.Commit("main", gitserver.Files{"top": "0", "a/x": "1", "b/z": "2"}, gitserver.CommitOptions{})
				dir := filepath.Join(t.TempDir(), "work")
				r, err := client(t, repo.URL(), o).Clone(t.Context(), git.Reference{Branch: "main"}, dir, git.CloneOptions{Sparse: []string{"a"}})
				g.Expect(err).NotTo(HaveOccurred())
				defer r.Close()
				g.Expect(filepath.Join(dir, "a/x")).To(BeARegularFile())
				g.Expect(filepath.Join(dir, "b")).NotTo(BeAnExistingFile())
				run(t, dir, "fsck", "--strict")
				g.Expect(run(t, dir, "-c", "remote.origin.promisor=false", "cat-file", "-p", "HEAD:a/x")).To(Equal("1"))
				g.Expect(os.WriteFile(filepath.Join(dir, "a/x"), []byte("new"), 0o600)).To(Succeed())
				_, err = r.Commit(t.Context(), git.CommitOptions{Author: git.Signature{Name: "a", Email: "a@example.com"}, Message: "m"})
				g.Expect(err).NotTo(HaveOccurred())
				_, err = r.Push(t.Context(), git.PushOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(run(t, dir, "diff", "--stat", "HEAD~1", "HEAD", "--", "b", "top")).To(BeEmpty())
			})
		}
	}
}
