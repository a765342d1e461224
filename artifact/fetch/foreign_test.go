// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact/fetch"
)

// ART-63: what is not the cache's is left alone, also when the directory was
// somebody's before.
func TestCacheLeavesForeignFiles(t *testing.T) {
	g := NewWithT(t)
	data, sum := archive(t, 3, 90)
	o := serve(t, content(data, sum))
	dir := t.TempDir()
	foreign := []string{
		"notes.txt", ".profile", "project/main.go", "private-keys/id", "private-1/data", "sha256-notes/x", ".cache.tmp", "a.tmp/b",
		".sha256-x.tmp/y",
	}
	for _, name := range foreign {
		p := filepath.Join(dir, name)
		g.Expect(os.MkdirAll(filepath.Dir(p), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(p, []byte("mine"), 0o600)).To(Succeed())
	}
	c := fetch.NewCache(fetch.CacheOptions{Dir: dir})
	defer c.Close()
	l, err := c.Tree(t.Context(), fetch.Ref{URL: o.URL, Digest: sum})
	g.Expect(err).NotTo(HaveOccurred())
	l.Release()
	for _, name := range foreign {
		g.Expect(os.ReadFile(filepath.Join(dir, name))).To(BeEquivalentTo("mine"), name)
	}
	g.Expect(filepath.Join(dir, "private-1", ".lock")).NotTo(BeAnExistingFile())
}

// A file that cannot be written is not the server's fault: nothing is
// asked for again, and the error is that of the file.
func TestFileThatCannotBeWritten(t *testing.T) {
	g := NewWithT(t)
	data, sum := archive(t, 3, 91)
	o := serve(t, content(data, sum))
	name := filepath.Join(t.TempDir(), "f")
	g.Expect(os.WriteFile(name, nil, 0o600)).To(Succeed())
	f, err := os.Open(name)
	g.Expect(err).NotTo(HaveOccurred())
	defer f.Close()
	fr, err := fetch.New(fetch.Options{RetryDelay: time.Millisecond})
	g.Expect(err).NotTo(HaveOccurred())
	defer fr.Close()
	res, err := fr.File(t.Context(), fetch.Ref{URL: o.URL, Digest: sum, Size: int64(len(data))}, f)
	g.Expect(errors.Is(err, syscall.EBADF)).To(BeTrue(), "%v", err)
	g.Expect(errors.Is(err, fetch.ErrDigestMismatch)).To(BeFalse())
	g.Expect(res.Attempts).To(Equal(1))
	g.Expect(o.requests()).To(HaveLen(1))
}
