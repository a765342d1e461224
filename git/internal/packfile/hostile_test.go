// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/objhash"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// refused receives a pack that a limit must stop, and expects no file.
func refused(t *testing.T, raw []byte, lim packfile.Limits) *limits.LimitError {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	_, err := packfile.Receive(t.Context(), bytes.NewReader(raw), packfile.Options{Dir: dir, Named: true, Limits: lim})
	var limit *limits.LimitError
	g.Expect(errors.As(err, &limit)).To(BeTrue(), "%v", err)
	g.Expect(os.ReadDir(dir)).To(BeEmpty())
	return limit
}

// GIT-27: a delta may be as long as it likes and give nothing; what is
// inflated of it counts, as what is inflated of objects does.
func TestReceiveInstructions(t *testing.T) {
	g := NewWithT(t)
	ins := append([]byte{0, 0}, make([]byte, 1<<20)...)
	raw := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) {
		base := b.Object(gitserver.BlobObject, nil)
		for range 8 {
			b.OfsDelta(base, ins)
		}
	})
	g.Expect(refused(t, raw, packfile.Limits{Inflated: 4 << 20}).Name).To(Equal("git-inflated"))
}

// branches is a pack of one large base with n small deltas, each with a delta
// below it, so that the base is needed again after it made room.
func branches(size, n int) []byte {
	base := make([]byte, size)
	return gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) {
		root := b.Object(gitserver.BlobObject, base)
		for i := range n {
			text := []byte{byte(i), byte(i >> 8), 1}
			kid := b.OfsDelta(root, gitserver.Delta(uint64(size), 3, gitserver.DeltaInsert(text)))
			b.OfsDelta(kid, gitserver.Delta(3, 4, gitserver.DeltaCopy(0, 3), gitserver.DeltaInsert([]byte("x"))))
		}
	})
}

// GIT-27: the base of many deltas is inflated once, also when it had to make
// room for what is below them.
func TestReceiveBranches(t *testing.T) {
	g := NewWithT(t)
	for _, size := range []int{3 << 20, 1 << 20} {
		p, err := packfile.Receive(t.Context(), bytes.NewReader(branches(size, 40)), packfile.Options{Dir: t.TempDir()})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(p.Len()).To(Equal(81))
		g.Expect(p.Resolved()).To(BeNumerically("<", size+64<<10))
		for i := range 40 {
			b, err := p.NewReader().Get(2 + 2*i)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(b).To(Equal([]byte{byte(i), 0, 1, 'x'}))
		}
		g.Expect(p.Close()).To(Succeed())
	}
}

// GIT-27, GIT-78: a pack whose deltas have bases outside it, as a server sends
// one to who has an older commit, is resolved and completed; git agrees.
func TestReceiveThin(t *testing.T) {
	g := NewWithT(t)
	name := packed(t, driver.SHA1, false)
	repo := filepath.Dir(name)
	thin := program(t, strings.NewReader("main\n^main~5\n"), "-C", repo, "pack-objects", "-q", "--revs", "--thin", "--stdout", "--delta-base-offset")
	full := receive(t, name, packfile.Options{Dir: t.TempDir()})
	p, err := packfile.Receive(t.Context(), strings.NewReader(thin), packfile.Options{
		Dir: t.TempDir(), Named: true,
		Base: func(id driver.Hash) (driver.Type, []byte, error) { return full.NewReader().Object(id) },
	})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = p.Close() }()
	g.Expect(p.Externals()).NotTo(BeEmpty())
	same(t, p, repo)
	g.Expect(p.Complete()).To(Succeed())
	g.Expect(p.Externals()).To(BeEmpty())
	same(t, p, repo)
	dir := t.TempDir()
	stem := filepath.Join(dir, "pack-"+p.Sum().String())
	g.Expect(p.Install(dir, stem)).To(Succeed())
	program(t, nil, "-C", dir, "verify-pack", stem+".pack")
}

// GIT-27: the empty object may be the base of a delta, inside and outside the
// pack, whatever a store gives for no bytes.
func TestReceiveEmptyBase(t *testing.T) {
	g := NewWithT(t)
	empty, err := objhash.Of(driver.SHA1, driver.Blob, nil)
	g.Expect(err).NotTo(HaveOccurred())
	raw := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) {
		for _, text := range []string{"a", "b", "c"} {
			b.RefDelta(gitserver.Hash(empty.String()), gitserver.Delta(0, 1, gitserver.DeltaInsert([]byte(text))))
		}
	})
	p, err := packfile.Receive(t.Context(), bytes.NewReader(raw), packfile.Options{
		Dir:  t.TempDir(),
		Base: func(driver.Hash) (driver.Type, []byte, error) { return driver.Blob, nil, nil },
	})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = p.Close() }()
	g.Expect(p.Complete()).To(Succeed())
	for i, text := range []string{"a", "b", "c", ""} {
		b, err := p.NewReader().Get(i)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(b)).To(Equal(text))
	}
}

// GIT-27: what keeps a base from being read is not the fault of the pack.
func TestReceiveBaseError(t *testing.T) {
	g := NewWithT(t)
	raw := packs()[4]
	for _, want := range []error{context.Canceled, os.ErrClosed} {
		dir := t.TempDir()
		_, err := packfile.Receive(t.Context(), bytes.NewReader(sealed(raw)), packfile.Options{
			Dir: dir, Named: true,
			Base: func(driver.Hash) (driver.Type, []byte, error) { return 0, nil, want },
		})
		g.Expect(errors.Is(err, want)).To(BeTrue(), "%v", err)
		g.Expect(errors.Is(err, driver.ErrMalformedPack)).To(BeFalse(), "%v", err)
		g.Expect(os.ReadDir(dir)).To(BeEmpty())
	}
	_, err := packfile.Receive(t.Context(), bytes.NewReader(sealed(raw)), packfile.Options{
		Dir:  t.TempDir(),
		Base: func(driver.Hash) (driver.Type, []byte, error) { return 0, nil, driver.ErrObjectNotFound },
	})
	g.Expect(errors.Is(err, driver.ErrMalformedPack)).To(BeTrue(), "%v", err)
}

// GIT-101: copies that are made side by side are whole.
func TestCopyConcurrentSafe(t *testing.T) {
	g := NewWithT(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for i := range big {
		big[i] ^= byte(i * i >> 7)
	}
	raw := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) { b.Object(gitserver.BlobObject, big) })
	p, err := packfile.Receive(t.Context(), bytes.NewReader(raw), packfile.Options{Dir: t.TempDir()})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = p.Close() }()
	dir := t.TempDir()
	wrong := make(chan error, 100)
	for range cap(wrong) {
		go func() {
			c, err := p.Copy(dir)
			if err == nil {
				var got []byte
				if got, err = os.ReadFile(c.Path()); err == nil && !bytes.Equal(got, raw) {
					err = errors.New("another content")
				}
				err = errors.Join(err, c.Close())
			}
			wrong <- err
		}()
	}
	for range cap(wrong) {
		g.Expect(<-wrong).NotTo(HaveOccurred())
	}
}

// GIT-27: a header that is longer than it need be is read alike on arrival and
// from the index.
func TestLongHeader(t *testing.T) {
	g := NewWithT(t)
	raw := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) { b.Object(gitserver.BlobObject, []byte("abc")) })
	body := bytes.Clone(raw[:12])
	body = append(body, raw[12]|0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0)
	body = append(body, raw[13:len(raw)-20]...)
	dir := t.TempDir()
	p, err := packfile.Receive(t.Context(), bytes.NewReader(sealed(body)), packfile.Options{Dir: dir, Named: true})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = p.Close() }()
	stem := dir + "/p"
	g.Expect(p.Install(dir, stem)).To(Succeed())
	x, err := packfile.OpenIndexed(stem+".pack", stem+".idx", driver.SHA1)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = x.Close() }()
	off, ok := x.Find(p.ID(0))
	g.Expect(ok).To(BeTrue())
	_, b, err := x.Read(off, packfile.ReadLimits{Object: 10, DeltaDepth: 10})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(b)).To(Equal("abc"))
}
