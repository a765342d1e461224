// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// pattern is size bytes that compress well and differ from place to place.
func pattern(size int) []byte {
	b := make([]byte, size)
	for i := 0; i < size; i += 1 << 10 {
		copy(b[i:], []byte{byte(i >> 10), byte(i >> 18), byte(i >> 26)})
	}
	return b
}

// spread is how the objects of a pack are read: all, in an order of its own,
// by three readers in turn.
func spread(t *testing.T, p *packfile.Pack, want func(i int) []byte) (built int64) {
	t.Helper()
	g := NewWithT(t)
	rs := []*packfile.Reader{p.NewReader(), p.NewReader(), p.NewReader()}
	var got bytes.Buffer
	for n, i := range rand.New(rand.NewPCG(1, 2)).Perm(p.Len()) {
		got.Reset()
		r := rs[n%len(rs)]
		switch {
		case p.ObjectSize(i) > 1<<20:
			continue
		case n%2 == 0:
			g.Expect(r.WriteTo(i, &got)).To(Succeed())
		default:
			o, err := r.Open(i)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = io.Copy(&got, o)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(o.Close()).To(Succeed())
		}
		g.Expect(bytes.Equal(got.Bytes(), want(i))).To(BeTrue(), "object %d", i)
	}
	for _, r := range rs {
		built += r.Built()
	}
	return built
}

// allocated is how many bytes do allocates.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// GIT-27, GIT-41: a large base is inflated twice, once on arrival and once for
// all of the many deltas against it, whatever the order they are read in; and
// neither it nor a delta's large result is ever held in memory.
func TestLargeBase(t *testing.T) {
	g := NewWithT(t)
	const size, kids, part = 12 << 20, 80, 40 << 10
	base := pattern(size)
	at := func(i int) int { return i * 141 << 10 }
	raw := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) {
		root := b.Object(gitserver.BlobObject, base)
		for i := range kids {
			b.OfsDelta(root, gitserver.Delta(size, part+3, gitserver.DeltaCopy(at(i), part), gitserver.DeltaInsert([]byte{byte(i), byte(i >> 8), 1})))
		}
		whole := make([]byte, 0, 8<<10)
		for off := 0; off < size; off += 1 << 20 {
			whole = append(whole, gitserver.DeltaCopy(off, 1<<20)...)
		}
		b.OfsDelta(root, gitserver.Delta(size, size+1, whole, gitserver.DeltaInsert([]byte("x"))))
	})
	want := func(i int) []byte {
		return append(bytes.Clone(base[at(i-1):at(i-1)+part]), byte(i-1), byte((i-1)>>8), 1)
	}
	dir := t.TempDir()
	var p *packfile.Pack
	spent := allocated(func() {
		var err error
		p, err = packfile.Receive(t.Context(), bytes.NewReader(raw), packfile.Options{Dir: dir})
		g.Expect(err).NotTo(HaveOccurred())
	})
	defer func() { _ = p.Close() }()
	g.Expect(spent).To(BeNumerically("<", 10<<20))
	g.Expect(p.Resolved()).To(BeNumerically("<", 2*size+2*kids*part+1<<20), "the base, the large result, and the small ones")
	g.Expect(spread(t, p, want)).To(BeNumerically("<", 2*kids*part), "nothing of the base")

	r := p.NewReader()
	var got bytes.Buffer
	got.Grow(size + 1)
	g.Expect(allocated(func() { g.Expect(r.WriteTo(kids+1, &got)).To(Succeed()) })).To(BeNumerically("<", 1<<20))
	g.Expect(bytes.Equal(got.Bytes(), append(base, 'x'))).To(BeTrue())
	g.Expect(os.ReadDir(dir)).To(BeEmpty(), "files have no name")
}

// GIT-27, GIT-41: what hangs on long chains of deltas costs a bounded multiple
// of its own size, whatever the order of reading; so it does when the chain has
// branches.
func TestLongChains(t *testing.T) {
	g := NewWithT(t)
	const size, links, kids, part = 100 << 10, 120, 3, 900
	bodies := [][]byte{pattern(size)}
	raw := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) {
		at := b.Object(gitserver.BlobObject, bodies[0])
		link := bodies[0]
		for i := range links {
			mark := []byte{byte(i), byte(i >> 8), 2}
			next := append(append(bytes.Clone(mark), link[:size-6]...), mark...)
			for k := range kids {
				b.OfsDelta(at, gitserver.Delta(size, part+3, gitserver.DeltaCopy(k*part, part), gitserver.DeltaInsert(mark)))
				bodies = append(bodies, append(bytes.Clone(link[k*part:(k+1)*part]), mark...))
			}
			at = b.OfsDelta(at, gitserver.Delta(size, size, gitserver.DeltaInsert(mark), gitserver.DeltaCopy(0, size-6), gitserver.DeltaInsert(mark)))
			bodies, link = append(bodies, next), next
		}
	})
	p, err := packfile.Receive(t.Context(), bytes.NewReader(raw), packfile.Options{Dir: t.TempDir()})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = p.Close() }()
	g.Expect(p.Len()).To(Equal(len(bodies)))
	g.Expect(p.Resolved()).To(BeNumerically("<", 2*links*size), "each link once")
	built := spread(t, p, func(i int) []byte { return bodies[i] })
	g.Expect(built).To(BeNumerically("<", 17*links*size), "not %d times", links/2)
}
