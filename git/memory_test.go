// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/gitops-kit/sdk/testserver/proc"
	. "github.com/onsi/gomega"
)

// GIT-41: the heap of a checkout has a bound that the size of the pack and of
// its blobs is not part of.
func TestCheckoutMemory(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	files := gitserver.Files{}
	r := rand.NewChaCha8([32]byte{1})
	for i := range 3 {
		b := make([]byte, 16<<20)
		_, _ = r.Read(b)
		files["big"+strconv.Itoa(i)] = string(b)
	}
	repo := e.srv.Repo("app")
	repo.Commit("main", files, gitserver.CommitOptions{})
	heap, _ := costs(t, repo.URL(), t.TempDir())
	g.Expect(heap).To(BeNumerically("<", 24<<20))
	// GIT-79: so has that of a checkout and an export from a mirror.
	dir := t.TempDir()
	heap, _ = costs(t, repo.URL(), dir, "MEMORY_TEST_MIRROR=1")
	g.Expect(heap).To(BeNumerically("<", 24<<20))
	for i := range 3 {
		b, err := os.ReadFile(filepath.Join(dir, "out", "big"+strconv.Itoa(i)))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(b) == files["big"+strconv.Itoa(i)]).To(BeTrue())
	}
}

// costs checks main of a repository out into dir/out, in a process of its own,
// and returns the most that its heap and its resident memory were.
func costs(t *testing.T, url, dir string, env ...string) (heap, resident int) {
	t.Helper()
	g := NewWithT(t)
	begun := time.Now()
	p, err := proc.Run(t.Context(), []string{os.Args[0], "-test.run=^TestHelperMemory$"}, proc.Options{Env: append(env, "MEMORY_TEST_URL="+url, "MEMORY_TEST_DIR="+dir)})
	g.Expect(err).NotTo(HaveOccurred())
	defer p.Stop()
	_, err = p.Wait(t.Context())
	g.Expect(err).NotTo(HaveOccurred(), p.Output())
	_, after, ok := strings.Cut(p.Output(), "memory ")
	g.Expect(ok).To(BeTrue(), p.Output())
	_, err = fmt.Sscan(after, &heap, &resident)
	g.Expect(err).NotTo(HaveOccurred())
	t.Logf("heap of %d KiB, %d KiB resident, %v", heap>>10, resident>>10, time.Since(begun))
	return heap, resident
}

// imported makes a server of the git program whose repository holds a commit
// of what write feeds to git fast-import.
func imported(t *testing.T, write func(w io.Writer)) string {
	t.Helper()
	e := start(t, gitserver.Options{Backend: gitserver.Exec})
	repo := e.srv.Repo("app")
	repo.Commit("other", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	for _, kv := range [][2]string{{"core.compression", "1"}, {"core.bigFileThreshold", "1m"}, {"pack.window", "0"}, {"fastimport.unpackLimit", "0"}} {
		run(t, repo.Dir(), "config", kv[0], kv[1])
	}
	cmd := exec.CommandContext(t.Context(), "git", "-C", repo.Dir(), "fast-import", "--quiet")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(in, 1<<20)
	_, _ = io.WriteString(w, "commit refs/heads/main\ncommitter A <a@example.com> 1700000000 +0000\ndata 1\nx\n")
	write(w)
	if err := errors.Join(w.Flush(), in.Close(), cmd.Wait()); err != nil {
		t.Fatalf("git fast-import: %v: %s", err, text.String())
	}
	return repo.URL()
}

// GIT-T17, GIT-41: a pack as large as the limits allow, of blobs as large as
// they allow, is checked out right in less than 128 MiB. A tenth of it without
// GITOPS_KIT_LONG=1, which is to run without the race detector.
func TestLargePack(t *testing.T) {
	g := NewWithT(t)
	size, long := 10<<20, os.Getenv("GITOPS_KIT_LONG") == "1"
	if long {
		size = 255 << 20
	}
	var want [4][32]byte
	url := imported(t, func(w io.Writer) {
		for i := range want {
			h := sha256.New()
			_, _ = fmt.Fprintf(w, "M 100644 inline d/big%d\ndata %d\n", i, size)
			_, _ = io.CopyN(io.MultiWriter(w, h), rand.NewChaCha8([32]byte{byte(i)}), int64(size))
			_, _ = io.WriteString(w, "\n")
			want[i] = [32]byte(h.Sum(nil))
		}
	})
	dir := t.TempDir()
	heap, resident := costs(t, url, dir)
	for i := range want {
		f, err := os.Open(filepath.Join(dir, "out", "d", "big"+strconv.Itoa(i)))
		g.Expect(err).NotTo(HaveOccurred())
		h := sha256.New()
		_, err = io.Copy(h, f)
		g.Expect(errors.Join(err, f.Close())).To(Succeed())
		g.Expect([32]byte(h.Sum(nil))).To(Equal(want[i]))
	}
	g.Expect(heap).To(BeNumerically("<", 40<<20))
	if long {
		g.Expect(resident).To(BeNumerically("<", 128<<20))
	}
}

// GIT-T17, GIT-41: as many files and directories as the limit allows, each with
// the right content, in 40 MiB and 64 bytes for each object, garbage included; a
// fiftieth of them without GITOPS_KIT_LONG=1.
func TestManyFiles(t *testing.T) {
	g := NewWithT(t)
	dirs, long := 4, os.Getenv("GITOPS_KIT_LONG") == "1"
	if long {
		dirs = 200
	}
	text := func(d, f int) string { return fmt.Sprintf("%d/%d\n%s", d, f, strings.Repeat("key: value\n", f%50)) }
	url := imported(t, func(w io.Writer) {
		for d := range dirs {
			for f := range 999 {
				_, _ = fmt.Fprintf(w, "M 100644 inline dir%d/file%d\ndata %d\n%s\n", d, f, len(text(d, f)), text(d, f))
			}
		}
	})
	dir := t.TempDir()
	heap, resident := costs(t, url, dir)
	n := 0
	for d := range dirs {
		for f := range 999 {
			b, err := os.ReadFile(filepath.Join(dir, "out", fmt.Sprintf("dir%d/file%d", d, f)))
			if err != nil || string(b) != text(d, f) {
				t.Fatalf("dir%d/file%d holds %q, %v", d, f, b, err)
			}
		}
		n += len(leftovers(t, filepath.Join(dir, "out", fmt.Sprint("dir", d))))
	}
	g.Expect(n).To(Equal(dirs * 999))
	g.Expect(leftovers(t, filepath.Join(dir, "out"))).To(HaveLen(dirs))
	objects := dirs*(999+1) + 2
	g.Expect(heap).To(BeNumerically("<", 40<<20+64*objects))
	if long { // with the program itself
		g.Expect(resident).To(BeNumerically("<", 96<<20))
	}
}

// TestHelperMemory is the process that costs looks at.
func TestHelperMemory(t *testing.T) {
	url := os.Getenv("MEMORY_TEST_URL")
	if url == "" {
		return
	}
	g := NewWithT(t)
	o := git.Options{TempDir: t.TempDir()}
	if os.Getenv("MEMORY_TEST_MIRROR") != "" {
		o.Mirror, _ = newMirror(t, git.MirrorOptions{})
	}
	c := client(t, url, o)
	found, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = c.Checkout(t.Context(), found, filepath.Join(os.Getenv("MEMORY_TEST_DIR"), "out"), git.CheckoutOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	if o.Mirror != nil {
		_, err = c.Export(t.Context(), found, func(fs.FS) (git.Sink, error) {
			return func(_ string, _ fs.FileMode, _ int64, r io.Reader) error {
				_, err := io.Copy(io.Discard, r)
				return err
			}, nil
		}, git.CheckoutOptions{})
		g.Expect(err).NotTo(HaveOccurred())
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	status, err := os.ReadFile("/proc/self/status")
	g.Expect(err).NotTo(HaveOccurred())
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	g.Expect(err).NotTo(HaveOccurred())
	// HeapSys never shrinks: it is the most there was.
	_, _ = fmt.Fprintf(os.Stdout, "memory %d %d bytes\n", m.HeapSys, kib<<10)
}
