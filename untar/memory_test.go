// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/untar"
)

// live is the size of the objects on the heap that are in use.
func live() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // no heap is that large
}

// longPath is a directory of 3,900 bytes.
func longPath() string {
	return strings.Repeat(strings.Repeat("x", 249)+"/", 15) + strings.Repeat("y", 149)
}

// entries streams n entries, each made of one template in which number stands
// for the index.
func entries(n int, template func(number string) []byte) io.Reader {
	const number = "%%%%%%%%"
	data := template(number)
	r, w := io.Pipe()
	go func() {
		for i := range n {
			if _, err := w.Write(bytes.ReplaceAll(data, []byte(number), fmt.Appendf(nil, "%08d", i))); err != nil {
				return
			}
		}
		_, err := w.Write(make([]byte, 1024))
		_ = w.CloseWithError(err)
	}()
	return r
}

// scaled is n in long runs, less otherwise.
func scaled(n, less int) int {
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		return n
	}
	return less
}

// untar.md §7: what is remembered of an entry does not depend on how long its
// path is.
func TestMemoryOfPaths(t *testing.T) {
	n := scaled(99_000, 20_000)
	file := func(number string) []byte {
		r := new(raw).pax("path", longPath()+"/"+number)
		return r.file("x", "").Bytes()
	}
	t.Run("Walk", func(t *testing.T) {
		g := NewWithT(t)
		base, peak, count := live(), int64(0), 0
		rep, err := untar.Walk(t.Context(), entries(n, file), func(untar.Entry, io.Reader) error {
			if count++; count%(n/5) == 0 {
				peak = max(peak, live()-base)
			}
			return nil
		}, untar.Options{Compression: untar.None})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(rep.Files).To(Equal(n))
		g.Expect(peak).To(BeNumerically("<=", 4<<20+128*n), "the paths alone are %d MiB", n*3909>>20)
	})
	t.Run("Extract", func(t *testing.T) {
		g := NewWithT(t)
		const n = 2000
		stop := errors.New("stop")
		parent := t.TempDir()
		base, peak, count := live(), int64(0), 0
		rep, err := untar.Extract(t.Context(), entries(n, func(number string) []byte {
			r := new(raw).pax("path", longPath()+"/"+number).dir("x")
			return r.pax("path", longPath()+"/"+number+"/z").file("x", "text").Bytes()
		}), filepath.Join(parent, "dst"), untar.Options{
			Compression: untar.None, Verify: func() error { return stop },
			Filter: func(untar.Entry) bool {
				if count++; count%n == 0 {
					peak = max(peak, live()-base)
				}
				return true
			},
		})
		g.Expect(errors.Is(err, stop)).To(BeTrue(), "%v", err)
		g.Expect(rep.Files).To(Equal(n))
		g.Expect(rep.Dirs).To(Equal(n + 16))
		g.Expect(peak).To(BeNumerically("<=", 6<<20), "the paths alone are %d MiB", 2*n*3909>>20)
		left, err := os.ReadDir(parent)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(left).To(BeEmpty())
	})
}

// untar.md §7, TAR-11: links are remembered up to a limit on their bytes.
func TestMemoryOfLinks(t *testing.T) {
	g := NewWithT(t)
	target := strings.Repeat("t", 200)
	link := func(number string) []byte {
		r := new(raw).pax("path", longPath()+"/"+number, "linkpath", target)
		return r.symlink("x", "").Bytes()
	}
	parent := t.TempDir()
	base, peak, count := live(), int64(0), 0
	o := untar.Options{Compression: untar.None, Links: untar.Inside, Filter: func(untar.Entry) bool {
		if count++; count%1000 == 0 {
			peak = max(peak, live()-base)
		}
		return true
	}}
	_, err := untar.Extract(t.Context(), entries(20_000, link), filepath.Join(parent, "dst"), o)
	var le *untar.LimitError
	g.Expect(errors.As(err, &le)).To(BeTrue(), "%v", err)
	g.Expect(le.Name).To(Equal("tar-links"))
	g.Expect(le.Max).To(BeEquivalentTo(8 << 20))
	g.Expect(count).To(Equal(8 << 20 / (len(longPath()) + 9 + len(target))))
	g.Expect(peak).To(BeNumerically("<=", 16<<20))
	left, err := os.ReadDir(parent)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(BeEmpty())
}

// TAR-11, TAR-12: a link that was kept is checked against the others also when
// a later one of its path was left out.
func TestEachKeptLinkIsChecked(t *testing.T) {
	g := NewWithT(t)
	b := new(raw).dir("d").symlink("b", "d").symlink("a", "b/../../x")
	got := extract(t, gz(b.end()), untar.Options{Links: untar.Inside})
	g.Expect(errors.Is(got.err, untar.ErrPathEscape)).To(BeTrue(), "%v", got.err)
	b = new(raw).dir("d").symlink("b", "d").symlink("a", "b/c").symlink("a", "d")
	got = extract(t, gz(b.end()), untar.Options{Links: untar.Inside, Filter: func(e untar.Entry) bool { return e.Path != "a" || e.Target != "d" }})
	g.Expect(errors.Is(got.err, untar.ErrPathEscape)).To(BeTrue(), "%v", got.err)
	g.Expect(got.tree).To(BeEmpty())
	b = new(raw).dir("d").symlink("a", "d").symlink("a", "d/e").symlink("a", "d/f")
	got = extract(t, gz(b.end()), untar.Options{Links: untar.Inside, Filter: func(e untar.Entry) bool { return e.Target != "d/f" }})
	g.Expect(got.err).NotTo(HaveOccurred())
	g.Expect(got.tree).To(HaveKeyWithValue("a", "-> d/e"), "the last one that was kept")
}

// TAR-9, TAR-12: only a file that was written is replaced.
func TestFilteredFileIsNotReplaced(t *testing.T) {
	g := NewWithT(t)
	archive := gz(new(raw).file("d/a", "one").file("d/a", "two").file("d/a", "three").end())
	count := 0
	got := extract(t, archive, untar.Options{Filter: func(untar.Entry) bool { count++; return count > 1 }})
	g.Expect(got.err).NotTo(HaveOccurred())
	g.Expect(got.tree).To(Equal(map[string]string{"d/": "", "d/a": "three"}))
	g.Expect(got.rep.Files).To(Equal(1))
}

// untar.md §7: at most 64 directories are open, also when each of them has a
// file on the way.
func TestOpenDirectories(t *testing.T) {
	g := NewWithT(t)
	root, err := os.OpenRoot(t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	defer root.Close()
	var busy []func()
	waits := 0
	d := untar.NewDirs(root, func() {
		waits++
		for _, release := range busy {
			release()
		}
		busy = nil
	})
	for i := range 500 {
		release, err := d.Get(fmt.Sprintf("d%d/e", i/3))
		g.Expect(err).NotTo(HaveOccurred())
		busy = append(busy, release)
		g.Expect(d.Open()).To(BeNumerically("<=", 64))
	}
	g.Expect(d.Open()).To(BeNumerically(">", 32), "they stay open")
	g.Expect(waits).To(BeNumerically(">", 1))
	deep := strings.TrimSuffix(strings.Repeat("d/", 128), "/")
	release, err := d.Get(deep)
	g.Expect(err).NotTo(HaveOccurred())
	release()
	g.Expect(d.Open()).To(BeNumerically("<=", 64))
	g.Expect(d.Close()).To(Succeed())
}
