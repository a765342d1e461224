// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gogit_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/gogit"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/git/packstore"
	. "github.com/onsi/gomega"
)

func program(t testing.TB, in io.Reader, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Stdin = in
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
}

// history makes a repository with one pack and returns the pack's name.
func history(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	program(t, nil, "init", "-q", "--bare", "-b", "main", dir)
	var in bytes.Buffer
	for n := range 20 {
		b := fmt.Sprintf("%s%d\n", strings.Repeat("the same line again\n", 20), n)
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata 1\nx\nM 100644 inline d/f\ndata %d\n%s\n", 1700000000+n, len(b), b)
	}
	program(t, &in, "-C", dir, "fast-import", "--quiet")
	program(t, nil, "-C", dir, "repack", "-q", "-a", "-d", "-f")
	names, err := filepath.Glob(filepath.Join(dir, "objects", "pack", "*.pack"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	return names[0]
}

// GIT-101: a driver of this module takes a verified pack as it takes its
// bytes: the same objects, the same files, once.
func TestAddPackVerified(t *testing.T) {
	for _, d := range []driver.Driver{gogit.New(gogit.Options{}), packstore.New(packstore.Options{})} {
		t.Run(d.Name(), func(t *testing.T) {
			g := NewWithT(t)
			name := history(t)
			raw, err := os.ReadFile(name)
			g.Expect(err).NotTo(HaveOccurred())
			p, err := packfile.Receive(t.Context(), bytes.NewReader(raw), packfile.Options{Dir: t.TempDir()})
			g.Expect(err).NotTo(HaveOccurred())
			defer func() { g.Expect(p.Close()).To(Succeed()) }()
			dir := t.TempDir()
			st, err := d.Open(t.Context(), dir, driver.OpenOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			defer func() { g.Expect(st.Close()).To(Succeed()) }()
			for _, r := range []io.Reader{p.Stream(), p.Stream(), bytes.NewReader(raw)} {
				stats, err := st.AddPack(t.Context(), r, driver.PackOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(stats).To(Equal(driver.PackStats{Objects: p.Len(), Deltas: p.Deltas(), Bytes: int64(len(raw))}))
			}
			for i := range p.Len() {
				typ, body, err := st.Get(t.Context(), p.ID(i))
				g.Expect(err).NotTo(HaveOccurred())
				want, err := p.NewReader().Get(i)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(typ).To(Equal(p.Type(i)))
				g.Expect(bytes.Equal(body, want)).To(BeTrue())
			}
			var got []string
			es, err := os.ReadDir(filepath.Join(dir, "objects", "pack"))
			g.Expect(err).NotTo(HaveOccurred())
			for _, e := range es {
				got = append(got, e.Name())
			}
			stem := "pack-" + p.Sum().String()
			g.Expect(slices.Sorted(slices.Values(got))).To(Equal([]string{stem + ".idx", stem + ".pack"}))
			g.Expect(os.ReadFile(filepath.Join(dir, "objects", "pack", stem+".pack"))).To(Equal(raw))
			index, err := os.ReadFile(strings.TrimSuffix(name, ".pack") + ".idx")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(os.ReadFile(filepath.Join(dir, "objects", "pack", stem+".idx"))).To(Equal(index))
		})
	}
}
