// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fault_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/fault"
)

func newFS(t *testing.T) (*fault.FS, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	f, err := fault.NewFS(root)
	if err != nil {
		t.Fatal(err)
	}
	return f, dir
}

// replace is the careful way to replace the file "old", without the sync of its
// content on request.
func replace(f *fault.FS, content string, syncFile bool) error {
	tmp, err := f.OpenFile(".tmp", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(tmp, strings.NewReader(content))
	if err == nil && syncFile {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := f.Rename(".tmp", "old"); err != nil {
		return err
	}
	d, err := f.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// afterCut returns the content of a file after a power cut; "-" if it is absent.
func afterCut(t *testing.T, f *fault.FS, n int, mode fault.CutMode, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := f.PowerCut(n, mode, dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPowerCut(t *testing.T) {
	g := NewWithT(t)
	f, _ := newFS(t)
	g.Expect(replace(f, "new", true)).To(Succeed())
	var kinds []string
	for _, op := range f.Ops() {
		kinds = append(kinds, op.Kind)
	}
	g.Expect(kinds).To(Equal([]string{"create", "write", "sync", "rename", "syncdir"}))
	for n := range 4 {
		g.Expect(afterCut(t, f, n, fault.LoseEntries, "old")).To(Equal("old"), "after %d operations", n)
	}
	g.Expect(afterCut(t, f, 4, fault.LoseEntries, "old")).To(Equal("old"), "rename is not durable")
	g.Expect(afterCut(t, f, 4, fault.KeepEntries, "old")).To(Equal("new"))
	g.Expect(afterCut(t, f, 5, fault.LoseEntries, "old")).To(Equal("new"))
	g.Expect(afterCut(t, f, 1, fault.KeepEntries, ".tmp")).To(BeEmpty())
	g.Expect(afterCut(t, f, 5, fault.LoseEntries, ".tmp")).To(Equal("-"))
}

func TestPowerCutFindsMissingSync(t *testing.T) {
	g := NewWithT(t)
	f, dir := newFS(t)
	g.Expect(replace(f, "new", false)).To(Succeed())
	b, err := os.ReadFile(filepath.Join(dir, "old"))
	g.Expect(string(b), err).To(Equal("new"), "the real file is fine")
	g.Expect(afterCut(t, f, len(f.Ops()), fault.LoseEntries, "old")).To(BeEmpty(), "renamed without its content")
}

func TestPowerCutFollowsOpenFile(t *testing.T) {
	g := NewWithT(t)
	f, _ := newFS(t)
	g.Expect(f.Mkdir("d", 0o700)).To(Succeed())
	x, err := f.Create("d/a")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Rename("d", "e")).To(Succeed())
	_, err = x.Write([]byte("moved"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(errors.Join(x.Sync(), x.Close())).To(Succeed())
	g.Expect(afterCut(t, f, len(f.Ops()), fault.KeepEntries, "e/a")).To(Equal("moved"))
	g.Expect(f.Remove("e/a")).To(Succeed())
	g.Expect(f.Symlink("old", "l")).To(Succeed())
	g.Expect(f.Link("old", "hard")).To(Succeed())
	g.Expect(afterCut(t, f, len(f.Ops()), fault.KeepEntries, "e/a")).To(Equal("-"))
	g.Expect(afterCut(t, f, len(f.Ops()), fault.KeepEntries, "l")).To(Equal("old"))
	g.Expect(afterCut(t, f, len(f.Ops()), fault.KeepEntries, "hard")).To(Equal("old"))
}

func TestFailEveryOperation(t *testing.T) {
	for _, errno := range []error{syscall.ENOSPC, syscall.EIO, syscall.EROFS, syscall.EMFILE} {
		for k := 1; ; k++ {
			g := NewWithT(t)
			f, dir := newFS(t)
			f.Fail(k, errno)
			err := replace(f, "new", true)
			if err == nil {
				g.Expect(k).To(Equal(6), "five operations")
				break
			}
			g.Expect(err).To(MatchError(errno))
			g.Expect(f.Ops()[k-1].Kind).To(HavePrefix("!"))
			b, rerr := os.ReadFile(filepath.Join(dir, "old"))
			g.Expect(rerr).NotTo(HaveOccurred())
			g.Expect(string(b)).To(BeElementOf("old", "new"))
			f.Heal()
			_ = f.Remove(".tmp")
			g.Expect(replace(f, "healed", true)).To(Succeed())
		}
	}
}

func TestHookCounts(t *testing.T) {
	g := NewWithT(t)
	f, _ := newFS(t)
	f.FailFrom(2, syscall.ENOSPC)
	g.Expect(f.Hook("rename", "x")).To(Succeed())
	g.Expect(f.Hook("rename", "x")).To(MatchError(syscall.ENOSPC))
	g.Expect(f.Hook("fsync", "x")).To(MatchError(syscall.ENOSPC))
	g.Expect(f.Ops()).To(HaveLen(3))
}
