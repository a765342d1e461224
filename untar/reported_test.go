// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/untar"
)

// TAR-5, TAR-12 (helm#8084): an archive of git begins with a global header. It
// makes no file and is none.
func TestArchiveOfGit(t *testing.T) {
	g := NewWithT(t)
	git := program(t, "git", "apt-get install git")
	repo := t.TempDir()
	command(t, repo, git, "init", "-q")
	for _, name := range []string{"a.yaml", "d/b.yaml"} {
		g.Expect(os.MkdirAll(filepath.Dir(filepath.Join(repo, name)), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(repo, name), []byte(name), 0o600)).To(Succeed())
	}
	command(t, repo, git, "add", ".")
	command(t, repo, git, "commit", "-q", "-m", "x")
	data := command(t, repo, git, "archive", "--format=tar.gz", "--prefix=c/", "HEAD")
	plain := command(t, repo, git, "archive", "--format=tar", "--prefix=c/", "HEAD")
	g.Expect(bytes.HasPrefix(plain, []byte("pax_global_header\x00"))).To(BeTrue(), "what the report is about")
	got := extract(t, data, untar.Options{StripPrefix: "c"})
	g.Expect(got.err).NotTo(HaveOccurred())
	g.Expect(got.tree).To(Equal(map[string]string{"a.yaml": "a.yaml", "d/": "", "d/b.yaml": "d/b.yaml"}))
	g.Expect(got.rep.Files).To(Equal(2))
	g.Expect(got.rep.Skipped).To(BeZero())
	only := append(bytes.Clone(plain[:1024]), make([]byte, 1024)...)
	got = extract(t, gz(only), untar.Options{})
	g.Expect(got.err).NotTo(HaveOccurred())
	g.Expect(got.rep.Files).To(BeZero())
	g.Expect(got.dst).To(BeADirectory())
	g.Expect(got.tree).To(BeEmpty())
}
