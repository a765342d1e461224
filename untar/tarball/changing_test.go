// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tarball_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/untar"
	"github.com/gitops-kit/sdk/untar/tarball"
)

// intruder does something when the first bytes of an archive are written:
// nothing more is read until it did, but for what Pack reads ahead.
type intruder struct {
	bytes.Buffer
	once sync.Once
	do   func() error
	err  error
}

func (w *intruder) Write(p []byte) (int, error) {
	w.once.Do(func() { w.err = w.do() })
	return w.Buffer.Write(p)
}

// TAR-24: a file that changes its size while Pack reads it is an error that
// names it. What was written is no archive with a shorter or padded entry.
func TestFileChangesWhilePackReads(t *testing.T) {
	const size = 12 << 20
	r := rand.New(rand.NewPCG(1, 1))
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(r.Uint32())
	}
	for name, tc := range map[string]struct {
		do func(file string) error
		ok bool
	}{
		"Shorter": {do: func(file string) error { return os.Truncate(file, size-1) }},
		"Empty":   {do: func(file string) error { return os.Truncate(file, 0) }},
		"Longer": {do: func(file string) error {
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = f.WriteString("x")
				err = errors.Join(err, f.Close())
			}
			return err
		}},
		"Replaced": {do: func(file string) error { // the one that is open stays as it was
			return errors.Join(os.WriteFile(file+".new", []byte("x"), 0o600), os.Rename(file+".new", file))
		}, ok: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			dir := t.TempDir()
			file := filepath.Join(dir, "b")
			for path, data := range map[string][]byte{file: content, filepath.Join(dir, "a"): []byte("a"), filepath.Join(dir, "c"): []byte("c")} {
				g.Expect(os.WriteFile(path, data, 0o600)).To(Succeed())
			}
			root, err := os.OpenRoot(dir)
			g.Expect(err).NotTo(HaveOccurred())
			defer root.Close()
			w := &intruder{do: func() error { return tc.do(file) }}
			_, err = tarball.Pack(t.Context(), w, root, tarball.Options{Jobs: 1, Level: tarball.Store})
			g.Expect(w.err).NotTo(HaveOccurred())
			listed := map[string]int64{}
			_, werr := untar.Walk(t.Context(), bytes.NewReader(w.Bytes()), func(e untar.Entry, r io.Reader) error {
				n, err := io.Copy(io.Discard, r)
				listed[e.Path] = n
				return err
			}, untar.Options{})
			if tc.ok {
				g.Expect(errors.Join(err, werr)).To(Succeed())
				g.Expect(listed).To(Equal(map[string]int64{"a": 1, "b": size, "c": 1}))
				return
			}
			g.Expect(errors.Is(err, tarball.ErrChanged)).To(BeTrue(), "%v", err)
			var named *tarball.EntryError
			g.Expect(errors.As(err, &named)).To(BeTrue(), "%v", err)
			g.Expect(named.Path).To(ContainSubstring("b"))
			g.Expect(errors.Is(werr, untar.ErrInvalidArchive)).To(BeTrue(), "it ends inside the file: %v", werr)
			g.Expect(listed).NotTo(HaveKey("c"))
		})
	}
}

// heap is the largest size of the objects in use, seen when blocks are
// written.
type heap struct{ peak uint64 }

func (h *heap) Write(p []byte) (int, error) {
	h.peak = max(h.peak, live())
	return len(p), nil
}

func live() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TAR-26: memory does not depend on the size of a file.
func TestMemoryOfPack(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	const files = 300
	for i := range files {
		g.Expect(os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%04d", i)), []byte("text"), 0o600)).To(Succeed())
	}
	f, err := os.Create(filepath.Join(dir, "large"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Truncate(40 << 20)).To(Succeed())
	g.Expect(f.Close()).To(Succeed())
	root, err := os.OpenRoot(dir)
	g.Expect(err).NotTo(HaveOccurred())
	defer root.Close()
	before, h := live(), &heap{}
	res, err := tarball.Pack(t.Context(), h, root, tarball.Options{Jobs: 4, Level: tarball.Store})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Files).To(Equal(files + 1))
	g.Expect(res.Size).To(BeNumerically(">", 40<<20), "as large as the tree")
	g.Expect(h.peak - min(before, h.peak)).To(BeNumerically("<=", 32<<20+128*files))
}

// TAR-26: and next to nothing is remembered of an entry.
func TestMemoryOfEntries(t *testing.T) {
	g := NewWithT(t)
	n := 12_000
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		n = 49_000
	}
	long := strings.Repeat("x", 200)
	w := tarball.NewWriter(io.Discard, tarball.Options{Jobs: 1, Level: tarball.Store})
	var before uint64
	for i := range n {
		g.Expect(w.Add(fmt.Sprintf("%s%06d", long, 2*i), fs.ModeDir|0o755, 0, nil)).To(Succeed())
		g.Expect(w.Add(fmt.Sprintf("%s%06d/f", long, 2*i), 0o644, 1, strings.NewReader("x"))).To(Succeed())
		if i == 1000 { // after what is there once
			before = live()
		}
	}
	after := live()
	_, err := w.Close()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(after-min(before, after)).To(BeNumerically("<=", 1<<20+128*2*(n-1000)), "the paths alone are %d MiB", 2*n*len(long)>>20)
}
