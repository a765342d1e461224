// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	. "github.com/onsi/gomega"
)

// program runs git and returns what it prints.
func program(t testing.TB, in io.Reader, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Stdin = in
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	var errText bytes.Buffer
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, errText.String())
	}
	return string(out)
}

// packed makes a pack with many deltas and returns its name; git's index is
// beside it. Bases are named by offset or by id.
func packed(t testing.TB, format driver.Format, byID bool) string {
	t.Helper()
	dir := t.TempDir()
	program(t, nil, "init", "-q", "--bare", "-b", "main", "--object-format="+format.String(), dir)
	rng := rand.New(rand.NewPCG(3, 4))
	texts := make([][]string, 40)
	var in bytes.Buffer
	for n := range 30 {
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata 1\nx\n", 1700000000+n)
		for i := range texts {
			if texts[i] == nil {
				for range 40 {
					texts[i] = append(texts[i], fmt.Sprintf("line %x", rng.Uint64()))
				}
			}
			texts[i][rng.IntN(40)] = fmt.Sprintf("line %x", rng.Uint64())
			b := strings.Join(texts[i], "\n")
			fmt.Fprintf(&in, "M 100644 inline d%d/f%d\ndata %d\n%s\n", i%5, i, len(b), b)
		}
	}
	program(t, &in, "-C", dir, "fast-import", "--quiet")
	args := []string{"-C", dir, "pack-objects", "-q", "--all", "--no-reuse-delta", "--depth=50", "--window=20"}
	if !byID {
		args = append(args, "--delta-base-offset")
	}
	name := filepath.Join(dir, "p")
	return name + "-" + strings.TrimSpace(program(t, strings.NewReader(""), append(args, name)...)) + ".pack"
}

func receive(t testing.TB, name string, o packfile.Options) *packfile.Pack {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	p, err := packfile.Receive(t.Context(), f, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// GIT-27, GIT-28: trees of deltas that are resolved side by side give the
// objects that git gives, and the index is git's, byte for byte.
func TestReceive(t *testing.T) {
	for _, tc := range []struct {
		name   string
		format driver.Format
		byID   bool
	}{
		{"Offsets", driver.SHA1, false}, {"IDs", driver.SHA1, true}, {"SHA256", driver.SHA256, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := NewWithT(t)
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
			name := packed(t, tc.format, tc.byID)
			p := receive(t, name, packfile.Options{Format: tc.format, Dir: t.TempDir()})
			g.Expect(p.Deltas()).To(BeNumerically(">", 512), "enough to be worth several goroutines")
			var index bytes.Buffer
			g.Expect(p.WriteIndex(&index)).To(Succeed())
			want, err := os.ReadFile(strings.TrimSuffix(name, ".pack") + ".idx")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(bytes.Equal(index.Bytes(), want)).To(BeTrue())
			same(t, p, filepath.Dir(name))
		})
	}
}

// same compares every object with what git cat-file says.
func same(t *testing.T, p *packfile.Pack, repo string) {
	t.Helper()
	g := NewWithT(t)
	var ids strings.Builder
	for i := range p.Len() {
		fmt.Fprintln(&ids, p.ID(i))
	}
	out := program(t, strings.NewReader(ids.String()), "-C", repo, "cat-file", "--batch")
	r := p.NewReader()
	order := make([]int, p.Len())
	for i := range order {
		order[i] = i
	}
	texts := make([]string, p.Len())
	slices.Reverse(order) // bases behind, so that windows move both ways
	for _, i := range order {
		b, err := r.Get(i)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(p.ObjectSize(i)).To(Equal(int64(len(b))))
		texts[i] = fmt.Sprintf("%s %s %d\n%s\n", p.ID(i), p.Type(i), len(b), b)
	}
	g.Expect(strings.Join(texts, "") == out).To(BeTrue())
}

// GIT-27: a limit that one of many trees breaks ends the work of all, and
// leaves no file.
func TestReceiveDepth(t *testing.T) {
	g := NewWithT(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	raw, err := os.ReadFile(packed(t, driver.SHA1, false))
	g.Expect(err).NotTo(HaveOccurred())
	dir := t.TempDir()
	_, err = packfile.Receive(t.Context(), bytes.NewReader(raw), packfile.Options{Dir: dir, Named: true, Limits: packfile.Limits{DeltaDepth: 2}})
	var limit *limits.LimitError
	g.Expect(errors.As(err, &limit)).To(BeTrue(), "%v", err)
	g.Expect(limit.Name).To(Equal("git-delta-depth"))
	g.Expect(os.ReadDir(dir)).To(BeEmpty())
}

// GIT-101: only a whole, unread stream of the same format, checked against no
// wider limits, stands for its pack; anything else is read and checked.
func TestUnpack(t *testing.T) {
	g := NewWithT(t)
	name := packed(t, driver.SHA1, false)
	p := receive(t, name, packfile.Options{Dir: t.TempDir()})
	lim := packfile.Limits{}
	got, ok := packfile.Unpack(p.Stream(), driver.SHA1, lim)
	g.Expect(ok).To(BeTrue())
	g.Expect(got).To(BeIdenticalTo(p))

	_, ok = packfile.Unpack(p.Stream(), driver.SHA256, lim)
	g.Expect(ok).To(BeFalse())
	_, ok = packfile.Unpack(p.Stream(), driver.SHA1, packfile.Limits{Object: 1 << 20})
	g.Expect(ok).To(BeFalse())
	_, ok = packfile.Unpack(p.Stream(), driver.SHA1, packfile.Limits{DeltaDepth: 10})
	g.Expect(ok).To(BeFalse())
	_, ok = packfile.Unpack(bytes.NewReader(nil), driver.SHA1, lim)
	g.Expect(ok).To(BeFalse())
	read := p.Stream()
	_, err := io.CopyN(io.Discard, read, 1)
	g.Expect(err).NotTo(HaveOccurred())
	_, ok = packfile.Unpack(read, driver.SHA1, lim)
	g.Expect(ok).To(BeFalse())

	all, err := io.ReadAll(p.Stream())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.ReadFile(name)).To(Equal(all))
}

// GIT-101: pack and index appear together, and an error leaves neither.
func TestInstall(t *testing.T) {
	g := NewWithT(t)
	name := packed(t, driver.SHA1, false)
	p := receive(t, name, packfile.Options{Dir: t.TempDir()})
	dir := t.TempDir()
	stem := filepath.Join(dir, "pack-"+p.Sum().String())

	for _, taken := range []string{".pack", ".idx"} { // what cannot be replaced by a file
		c, err := p.Copy(dir)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(os.MkdirAll(filepath.Join(stem+taken, "x"), 0o755)).To(Succeed())
		err = c.Install(dir, stem)
		var link *os.LinkError
		g.Expect(errors.As(err, &link)).To(BeTrue(), "%v", err)
		g.Expect(c.Close()).To(Succeed())
		g.Expect(os.RemoveAll(stem + taken)).To(Succeed())
		g.Expect(os.ReadDir(dir)).To(BeEmpty())
	}

	c, err := p.Copy(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.Install(dir, stem)).To(Succeed())
	g.Expect(c.Close()).To(Succeed())
	program(t, nil, "-C", dir, "verify-pack", stem+".pack")
	es, err := os.ReadDir(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(es).To(HaveLen(2))
	same(t, p, filepath.Dir(name)) // the copy took nothing away
}
