// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
)

// unchanging is a driver whose files never look changed, whatever they hold,
// and that counts how many of them were read.
type unchanging struct {
	*dir.Driver
	read int
}

type unchangingFile struct {
	io.ReadSeekCloser
	d     *unchanging
	asked bool
}

func (f *unchangingFile) Identity() string { return "same" }

func (f *unchangingFile) Read(p []byte) (int, error) {
	if !f.asked {
		f.asked = true
		f.d.read++
	}
	return f.ReadSeekCloser.Read(p)
}

func (d *unchanging) Get(ctx context.Context, k artifact.Key) (io.ReadSeekCloser, artifact.Stat, error) {
	r, st, err := d.Driver.Get(ctx, k)
	if err != nil {
		return nil, st, err
	}
	return &unchangingFile{ReadSeekCloser: r, d: d}, st, nil
}

func newUnchanging(t testing.TB, base string, every int) (*artifact.Store, *unchanging) {
	t.Helper()
	inner, err := dir.New(base, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := &unchanging{Driver: inner}
	s, err := artifact.NewStore(d, artifact.Options{BaseURL: "h", VerifyEvery: every, Limits: artifact.Limits{Free: noSpace}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, d
}

// ART-20: the first quick check of a process reads the file, and so does every
// n-th after it; what identity does not show is found then.
func TestEveryNthQuickCheckIsFull(t *testing.T) {
	for _, tc := range []struct {
		every int
		full  []int
	}{{0, []int{1, 11, 21}}, {3, []int{1, 4, 7, 10, 13, 16, 19, 22}}, {1, []int{1, 2, 3, 4, 5}}} {
		t.Run(fmt.Sprint(tc.every), func(t *testing.T) {
			g := NewWithT(t)
			base := t.TempDir()
			first := newStore(t, base, artifact.Options{})
			a := write(t, first, "f", "text")
			g.Expect(first.Close()).To(Succeed())
			s, d := newUnchanging(t, base, tc.every)
			last := tc.full[len(tc.full)-1]
			var full []int
			for i := 1; i <= last; i++ {
				before := d.read
				g.Expect(s.Check(t.Context(), a, artifact.Quick)).To(Succeed())
				if d.read > before {
					full = append(full, i)
				}
			}
			g.Expect(full).To(Equal(tc.full))
			g.Expect(os.WriteFile(path(base, a), []byte("evil"), 0o600)).To(Succeed())
			every := max(tc.every, 1)
			if tc.every == 0 {
				every = 10
			}
			for range every - 1 {
				g.Expect(s.Check(t.Context(), a, artifact.Quick)).To(Succeed())
			}
			err := s.Check(t.Context(), a, artifact.Quick)
			g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeTrue(), "%v", err)
			g.Expect(path(base, a)).NotTo(BeAnExistingFile(), "put aside")
		})
	}
}

// ART-43, ART-20: a verdict holds for an hour, for readers and for the server.
func TestVerdictAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		base := t.TempDir()
		s, _ := newUnchanging(t, base, 1000)
		a := write(t, s, "f", "text")
		verified := func() bool {
			b, err := s.Lookup(t.Context(), key("f"))
			g.Expect(err).NotTo(HaveOccurred())
			defer b.Close()
			return b.Verified()
		}
		g.Expect(verified()).To(BeTrue(), "it was hashed while it was written")
		pass(time.Hour - time.Second)
		g.Expect(verified()).To(BeTrue())
		pass(time.Second)
		g.Expect(verified()).To(BeFalse())
		r, err := s.Open(t.Context(), a)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.Close()).To(Succeed())
		g.Expect(verified()).To(BeTrue(), "hashed again")
		g.Expect(os.WriteFile(path(base, a), []byte("evil"), 0o600)).To(Succeed())
		pass(time.Hour)
		err = s.Check(t.Context(), a, artifact.Quick)
		g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeTrue(), "%v", err)
		g.Expect(path(base, a)).NotTo(BeAnExistingFile())
	})
}

// ART-22: what is noted of a file's age does not pile up: not with its
// versions, not when somebody else removes it.
func TestNothingIsNotedForEver(t *testing.T) {
	g := NewWithT(t)
	base := t.TempDir()
	s := newStore(t, base, artifact.Options{Limits: artifact.Limits{Records: 1, TTL: -1}})
	for i := range 100 {
		a := write(t, s, "f", fmt.Sprint(i))
		_, err := s.Collect(t.Context(), key(""), a)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(s.Noted()).To(Equal(1), "one file with a hundred versions")
	write(t, s, "g", "text")
	h := write(t, s, "h", "text")
	g.Expect(s.Noted()).To(Equal(3))
	g.Expect(os.Remove(filepath.Join(filepath.Dir(path(base, h)), "g"))).To(Succeed())
	_, err := s.Collect(t.Context(), key(""), h)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Noted()).To(Equal(1), "h: g was removed by somebody else, f by this call")
	g.Expect(os.WriteFile(path(base, h), []byte("evil"), 0o600)).To(Succeed())
	err = s.Check(t.Context(), h, artifact.Full)
	g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeTrue(), "%v", err)
	g.Expect(s.Noted()).To(BeZero(), "put aside")
	write(t, s, "i", "text")
	_, err = s.Sweep(t.Context(), func(artifact.Key) bool { return false })
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Noted()).To(Equal(2), "i, and that its object is not wanted")
	g.Expect(os.RemoveAll(filepath.Join(base, "gitrepository"))).To(Succeed())
	_, err = s.Sweep(t.Context(), func(artifact.Key) bool { return false })
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Noted()).To(BeZero(), "the object is gone")
	write(t, s, "j", "text")
	_, err = s.Remove(t.Context(), key(""))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Noted()).To(BeZero())
}

// pass lets simulated time pass.
func pass(d time.Duration) { <-time.After(d) }
