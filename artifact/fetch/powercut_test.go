// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact/fetch"
	"github.com/gitops-kit/sdk/testserver/fault"
)

// mirror repeats the operations of a cache on a recording file system. The
// cache tells of each before it, so that each is repeated when the next one
// is told of. Nobody syncs an extracted tree, but the kernel writes back what
// it likes when it likes.
type mirror struct {
	t         testing.TB
	base      string
	fs        *fault.FS
	open      map[string]fault.File
	writeBack func(file int) bool
	op, name  string
}

func newMirror(t testing.TB, c *fetch.Cache, base string, writeBack func(file int) bool) *mirror {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	f, err := fault.NewFS(root)
	if err != nil {
		t.Fatal(err)
	}
	m := &mirror{t: t, base: base, fs: f, open: map[string]fault.File{}, writeBack: writeBack}
	fetch.SetHook(c, func(op, name string) {
		m.flush()
		m.op, m.name = op, name
	})
	return m
}

func (m *mirror) flush() {
	m.t.Helper()
	if m.op == "" {
		return
	}
	if err := m.repeat(); err != nil {
		m.t.Fatalf("%s %q: %v", m.op, m.name, err)
	}
	m.op = ""
}

func (m *mirror) rel(name string) string {
	rel, err := filepath.Rel(m.base, name)
	if err != nil {
		m.t.Fatal(err)
	}
	return rel
}

func (m *mirror) repeat() (err error) {
	switch m.op {
	case "mkdir":
		return m.fs.Mkdir(m.rel(m.name), 0o700)
	case "tree":
		return m.tree()
	case "create":
		m.open[m.name], err = m.fs.OpenFile(m.rel(m.name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	case "write":
		data, err := os.ReadFile(m.name)
		if err == nil {
			_, err = m.open[m.name].Write(data)
		}
		return err
	case "sync":
		return errors.Join(m.open[m.name].Sync(), m.open[m.name].Close())
	case "rename":
		from, to, _ := strings.Cut(m.name, "\x00")
		return m.fs.Rename(m.rel(from), m.rel(to))
	}
	return errors.ErrUnsupported
}

// tree repeats an extraction.
func (m *mirror) tree() error {
	n := 0
	return filepath.WalkDir(m.name, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return m.fs.Mkdir(m.rel(path), 0o700)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := m.fs.OpenFile(m.rel(path), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		if m.writeBack(n) {
			err = errors.Join(err, f.Sync())
		}
		n++
		return errors.Join(err, f.Close())
	})
}

// contents are the files of a tree.
func contents(t testing.TB, tree fs.FS) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(tree, path)
		out[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// CR-4, F30, I3, ART-61, ART-63: whatever a power cut takes of an extraction,
// the first lease after it is on the tree as it was packed. The marker of a
// complete tree is synced and may survive any part of the tree.
func TestCachePowerCut(t *testing.T) {
	const files = 40
	data, sum := archive(t, files, 90)
	o := serve(t, content(data, sum))
	ref := fetch.Ref{URL: o.URL, Digest: sum}
	type variant struct {
		name      string
		writeBack func(int) bool
		from      int // operations before the last ones that are replayed
	}
	variants := []variant{
		{"Nothing", func(int) bool { return false }, 12},
		{"All", func(int) bool { return true }, 4},
		{"Half", func(i int) bool { return i%2 == 0 }, 4},
	}
	for _, lost := range []int{0, 1, 21, files - 1} {
		variants = append(variants, variant{fmt.Sprintf("AllBut%d", lost), func(i int) bool { return i != lost }, 1})
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			g := NewWithT(t)
			base := t.TempDir()
			c := fetch.NewCache(fetch.CacheOptions{Dir: base})
			m := newMirror(t, c, base, v.writeBack)
			l, err := c.Tree(t.Context(), ref)
			g.Expect(err).NotTo(HaveOccurred())
			m.flush()
			fetch.SetHook(c, nil)
			want := contents(t, l.Root().FS())
			g.Expect(want).To(HaveLen(files))
			l.Release()
			g.Expect(c.Close()).To(Succeed())
			total := len(m.fs.Ops())
			for n := max(0, total-v.from); n <= total; n++ {
				for _, mode := range []fault.CutMode{fault.LoseEntries, fault.KeepEntries} {
					after := t.TempDir()
					g.Expect(m.fs.PowerCut(n, mode, after)).To(Succeed())
					replay(t, after, ref, want, fmt.Sprintf("after operation %d of %d, mode %d", n, total, mode))
				}
			}
		})
	}
}

// replay leases a tree from what a power cut left, twice.
func replay(t *testing.T, dir string, ref fetch.Ref, want map[string]string, where string) {
	t.Helper()
	g := NewWithT(t)
	c := fetch.NewCache(fetch.CacheOptions{Dir: dir})
	for range 2 {
		l, err := c.Tree(t.Context(), ref)
		g.Expect(err).NotTo(HaveOccurred(), where)
		got := contents(t, l.Root().FS())
		g.Expect(got).To(HaveLen(len(want)), where)
		for path, text := range got {
			g.Expect(text == want[path]).To(BeTrue(), "%s: %s has %d bytes", where, path, len(text))
		}
		l.Release()
	}
	g.Expect(c.Close()).To(Succeed())
	entries, err := os.ReadDir(dir)
	g.Expect(err).NotTo(HaveOccurred())
	for _, e := range entries {
		g.Expect(strings.HasSuffix(e.Name(), ".tmp")).To(BeFalse(), "%s: %s is left", where, e.Name())
	}
}

// ART-63, ART-61: a cache checks a tree that it took over as a whole before the
// first lease, also when many ask at once, and as a sample after that.
func TestTakenOverTreeIsProvedFirst(t *testing.T) {
	g := NewWithT(t)
	const files = 200
	data, sum := archive(t, files, 91)
	o := serve(t, content(data, sum))
	ref := fetch.Ref{URL: o.URL, Digest: sum}
	dir := t.TempDir()
	c := fetch.NewCache(fetch.CacheOptions{Dir: dir})
	l, err := c.Tree(t.Context(), ref)
	g.Expect(err).NotTo(HaveOccurred())
	path := l.Path()
	l.Release()
	g.Expect(c.Close()).To(Succeed())
	for i, damage := range []func(tree string) error{
		func(tree string) error { return truncate(filepath.Join(tree, "f00121")) },
		func(tree string) error { return os.Remove(filepath.Join(tree, "f00005")) },
		func(tree string) error { return os.WriteFile(filepath.Join(tree, "more"), nil, 0o444) },
		func(tree string) error { return os.Mkdir(filepath.Join(tree, "more"), 0o555) },
		func(tree string) error { return os.Symlink("f00001", filepath.Join(tree, "more")) },
	} {
		g.Expect(os.Chmod(path, 0o755)).To(Succeed())
		g.Expect(damage(path)).To(Succeed())
		corrupt := make(chan string, 100)
		c = fetch.NewCache(fetch.CacheOptions{Dir: dir, Observe: func(e fetch.Event) {
			if e.Type == fetch.Corrupt {
				corrupt <- e.Digest
			}
		}})
		before := len(o.requests())
		done := make(chan error)
		const callers = 8
		for range callers {
			go func() {
				l, err := c.Tree(t.Context(), ref)
				if err == nil {
					var list []fs.DirEntry
					if list, err = fs.ReadDir(l.Root().FS(), "."); err == nil && len(list) != files {
						err = fmt.Errorf("%d entries", len(list))
					}
					if b, _ := l.Root().ReadFile("f00121"); err == nil && len(b) == 0 {
						err = io.ErrUnexpectedEOF
					}
					l.Release()
				}
				done <- err
			}()
		}
		for range callers {
			g.Expect(<-done).To(Succeed(), "damage %d", i)
		}
		g.Expect(corrupt).To(HaveLen(1), "damage %d", i)
		g.Expect(o.requests()).To(HaveLen(before+1), "damage %d", i)
		g.Expect(c.Close()).To(Succeed())
	}
}

func truncate(file string) error {
	return errors.Join(os.Chmod(file, 0o644), os.Truncate(file, 0), os.Chmod(file, 0o444))
}

// ART-63: once per hundred leases the whole tree is compared, so that a file
// that was added is noticed, too; the 16 of a sample find one of 200 by chance.
func TestEveryHundredthCheckIsOfAll(t *testing.T) {
	g := NewWithT(t)
	const files = 200
	data, sum := archive(t, files, 92)
	o := serve(t, content(data, sum))
	corrupt := 0
	c := fetch.NewCache(fetch.CacheOptions{Dir: t.TempDir(), Observe: func(e fetch.Event) {
		if e.Type == fetch.Corrupt {
			corrupt++
		}
	}})
	defer c.Close()
	lease := func() *fetch.Lease {
		t.Helper()
		l, err := c.Tree(t.Context(), fetch.Ref{URL: o.URL, Digest: sum})
		g.Expect(err).NotTo(HaveOccurred())
		return l
	}
	l := lease()
	g.Expect(os.Chmod(l.Path(), 0o755)).To(Succeed())
	added := filepath.Join(l.Path(), "added")
	g.Expect(os.WriteFile(added, []byte("kind: Pod"), 0o444)).To(Succeed())
	l.Release()
	for range 98 {
		lease().Release()
	}
	g.Expect(corrupt).To(BeZero(), "no sample sees a file that nobody recorded")
	g.Expect(o.requests()).To(HaveLen(1))
	l = lease()
	defer l.Release()
	g.Expect(corrupt).To(Equal(1))
	g.Expect(o.requests()).To(HaveLen(2))
	_, err := l.Root().Stat("added")
	g.Expect(errors.Is(err, fs.ErrNotExist)).To(BeTrue())
}
