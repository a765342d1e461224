// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dir_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
)

var key = artifact.Key{Kind: "kind", Namespace: "ns", Name: "name", File: "file"}

// F27, F28, N50: operation k of a write fails, for every k and each errno.
// The old file stays, nothing else is left, and the next write works without
// a restart.
func TestFaults(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.EROFS, syscall.EMFILE} {
		for k := 1; ; k++ {
			g := NewWithT(t)
			base := t.TempDir()
			d := open(t, base)
			s, err := artifact.NewStore(d, artifact.Options{BaseURL: "h", Limits: artifact.Limits{Free: artifact.Free{Percent: -1, Bytes: -1}}})
			g.Expect(err).NotTo(HaveOccurred())
			put := func(text string) error {
				_, err := s.Write(t.Context(), key, "r", func(w io.Writer) error {
					_, err := io.WriteString(w, text)
					return err
				}, artifact.WriteOptions{})
				return err
			}
			g.Expect(put("old")).To(Succeed())
			n := 0
			dir.SetHook(d, func(op, _ string) error {
				if n++; n == k {
					return &os.PathError{Op: op, Path: "x", Err: errno}
				}
				return nil
			})
			err = put("new, and longer")
			dir.SetHook(d, nil)
			if n < k {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(k).To(BeNumerically(">", 5))
				break
			}
			read := func() string {
				r, _, err := d.Get(t.Context(), key)
				g.Expect(err).NotTo(HaveOccurred())
				defer r.Close()
				b, err := io.ReadAll(r)
				g.Expect(err).NotTo(HaveOccurred())
				return string(b)
			}
			if err != nil {
				g.Expect(errors.Is(err, errno)).To(BeTrue(), "operation %d: %v", k, err)
				g.Expect(errors.Is(err, artifact.ErrStorageFull)).To(Equal(errno == syscall.ENOSPC))
			}
			g.Expect(read()).To(BeElementOf("old", "new, and longer"))
			g.Expect(put("healed")).To(Succeed(), "operation %d", k)
			g.Expect(read()).To(Equal("healed"))
			entries, err := os.ReadDir(filepath.Join(base, "kind", "ns", "name"))
			g.Expect(err).NotTo(HaveOccurred())
			for _, e := range entries {
				g.Expect(e.Name()).NotTo(HaveSuffix(".tmp"), "operation %d", k)
			}
			g.Expect(d.Close()).To(Succeed())
		}
	}
}

// F30, ART-18: the order of what makes a file durable: its content is synced
// before it gets its name, and the directory after that.
func TestDurabilityOrder(t *testing.T) {
	g := NewWithT(t)
	d := open(t, t.TempDir())
	var log []string
	dir.SetHook(d, func(op, name string) error {
		if strings.Contains(name, ".index") {
			op = "index-" + op
		}
		log = append(log, op)
		return nil
	})
	_, err := d.Put(t.Context(), key, strings.NewReader("x"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(log).To(Equal([]string{
		"mkdir", "syncdir", "mkdir", "syncdir", "mkdir", "syncdir", "create", "write", "sync",
		"index-create", "index-write", "index-rename", "rename", "syncdir",
	}))
	log = nil
	_, err = d.Put(t.Context(), key, strings.NewReader("y"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(log).To(Equal([]string{
		"create", "write", "sync", "index-create", "index-write", "index-sync", "index-rename", "rename", "syncdir",
	}), "a record of a replacement is durable before the file")
}

// ART-22: a lost or torn record costs nothing but hashing.
func TestLostIndex(t *testing.T) {
	for _, text := range []string{"", "{", `{"entries":[{"file":"file","digest":"nonsense","seq":7}]}`, strings.Repeat("\x00", 100)} {
		g := NewWithT(t)
		base := t.TempDir()
		d := open(t, base)
		_, err := d.Put(t.Context(), key, strings.NewReader("x"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(os.WriteFile(filepath.Join(base, "kind/ns/name/.index.json"), []byte(text), 0o600)).To(Succeed())
		s, err := artifact.NewStore(d, artifact.Options{BaseURL: "h"})
		g.Expect(err).NotTo(HaveOccurred())
		b, err := s.Lookup(t.Context(), key)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(b.Stat.Digest).To(HavePrefix("sha256:2d711642b726b044"), "computed from the bytes")
		g.Expect(b.Close()).To(Succeed())
		g.Expect(d.Close()).To(Succeed())
	}
}
