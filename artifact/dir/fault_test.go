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
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
)

var key = artifact.Key{Kind: "kind", Namespace: "ns", Name: "name", File: "file"}

// F27, F28, N50, ART-21: operation k of a write fails, for every k and each errno.
// The old file stays, nothing else is left, and the next write works without
// a restart.
func TestFaults(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE} {
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
				g.Expect(errors.Is(err, artifact.ErrStorageFull)).To(Equal(errno == syscall.ENOSPC || errno == syscall.EDQUOT))
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

// ART-21: when a quota is used up, files that nobody uses go, and the write is
// tried once more.
func TestQuota(t *testing.T) {
	for name, helps := range map[string]bool{"Helps": true, "DoesNotHelp": false} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d := open(t, t.TempDir())
			var evicted []string
			s, err := artifact.NewStore(d, artifact.Options{
				BaseURL: "h", Limits: artifact.Limits{Free: artifact.Free{Percent: -1, Bytes: -1}},
				Observe: func(e artifact.Event) {
					if e.Type == artifact.Evicted {
						evicted = append(evicted, e.Key.File)
					}
				},
			})
			g.Expect(err).NotTo(HaveOccurred())
			put := func(file string) error {
				k := key
				k.File = file
				_, err := s.Write(t.Context(), k, "r", func(w io.Writer) error {
					_, err := io.WriteString(w, file)
					return err
				}, artifact.WriteOptions{})
				return err
			}
			g.Expect(put("old")).To(Succeed())
			g.Expect(put("current")).To(Succeed())
			full, attempts := true, 0
			dir.SetHook(d, func(op, name string) error {
				switch {
				case op == "remove" && strings.HasSuffix(name, "/old"):
					full = !helps
				case op == "create":
					attempts++
				case op == "write" && full && strings.Contains(name, ".new."):
					return &os.PathError{Op: op, Path: "x", Err: syscall.EDQUOT}
				}
				return nil
			})
			err = put("new")
			dir.SetHook(d, nil)
			g.Expect(evicted).To(Equal([]string{"old"}))
			g.Expect(content(t, d, "current")).To(Equal("current"))
			g.Expect(content(t, d, "old")).To(BeEmpty())
			if helps {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(content(t, d, "new")).To(Equal("new"))
				return
			}
			g.Expect(errors.Is(err, artifact.ErrStorageFull)).To(BeTrue(), "%v", err)
			g.Expect(errors.Is(err, syscall.EDQUOT)).To(BeTrue(), "%v", err)
			g.Expect(content(t, d, "new")).To(BeEmpty())
			g.Expect(put("new")).To(Succeed(), "nothing needs a restart to heal")
		})
	}
}

// ART-20, ART-23: what was put aside is kept for a day.
func TestQuarantineAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		base := t.TempDir()
		d := open(t, base)
		s, err := artifact.NewStore(d, artifact.Options{BaseURL: "h", Limits: artifact.Limits{Free: artifact.Free{Percent: -1, Bytes: -1}}})
		g.Expect(err).NotTo(HaveOccurred())
		aside := func() []string {
			names, err := filepath.Glob(filepath.Join(base, ".quarantine", "*"))
			g.Expect(err).NotTo(HaveOccurred())
			return names
		}
		damage := func() {
			a, err := s.Write(t.Context(), key, "r", func(w io.Writer) error {
				_, err := io.WriteString(w, "text")
				return err
			}, artifact.WriteOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(os.WriteFile(filepath.Join(base, filepath.FromSlash(a.Path)), []byte("evil"), 0o600)).To(Succeed())
			g.Expect(errors.Is(s.Check(t.Context(), a, artifact.Full), artifact.ErrCorrupt)).To(BeTrue())
		}
		sweep := func() {
			_, err := s.Sweep(t.Context(), nil)
			g.Expect(err).NotTo(HaveOccurred())
		}
		damage()
		pass(12 * time.Hour)
		damage()
		sweep()
		g.Expect(aside()).To(HaveLen(2))
		pass(12*time.Hour - time.Second)
		sweep()
		g.Expect(aside()).To(HaveLen(2))
		pass(2 * time.Second)
		sweep()
		g.Expect(aside()).To(HaveLen(1), "the older one is a day old")
		pass(12 * time.Hour)
		sweep()
		g.Expect(aside()).To(BeEmpty())
	})
}

// pass lets simulated time pass.
func pass(d time.Duration) { <-time.After(d) }
