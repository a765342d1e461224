// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/untar"
)

// TAR-8: a name makes all directories above it. They are bounded, too: a
// short archive must not fill memory and disk with directories.
func TestTacitDirectories(t *testing.T) {
	g := NewWithT(t)
	archive := func(n int) []byte {
		r := &raw{}
		for i := range n {
			r.file(fmt.Sprintf("d%d/%sf", i, strings.Repeat("a/", 9)), "")
		}
		return gz(r.end())
	}
	got := extract(t, archive(10), untar.Options{Limits: untar.Limits{Entries: 100}})
	g.Expect(got.err).NotTo(HaveOccurred(), "100 directories are 100")
	g.Expect(got.rep.Dirs).To(Equal(100))
	got = extract(t, archive(11), untar.Options{Limits: untar.Limits{Entries: 100}})
	g.Expect(limit(got.err)).To(Equal("tar-entries"), "%v", got.err)
	g.Expect(got.tree).To(BeEmpty())
	_, err := untar.Walk(t.Context(), bytes.NewReader(archive(11)), nil, untar.Options{Limits: untar.Limits{Entries: 100}})
	g.Expect(limit(err)).To(Equal("tar-entries"))
}

// TAR-11: a target is as long and as deep as a path may be, and costs in
// proportion to its length.
func TestLongTargets(t *testing.T) {
	g := NewWithT(t)
	link := func(target string) []byte {
		r := &raw{}
		r.pax("linkpath", target)
		return gz(r.symlink("l", "x").end())
	}
	for name, tc := range map[string]struct{ target, limit string }{
		"Long": {strings.Repeat("a/../", 1000) + "b", "tar-path"},
		"Deep": {strings.Repeat("a/", 200) + "b", "tar-depth"},
	} {
		got := extract(t, link(tc.target), untar.Options{Links: untar.Inside})
		g.Expect(limit(got.err)).To(Equal(tc.limit), "%s: %v", name, got.err)
		g.Expect(got.tree).To(BeEmpty())
		got = extract(t, link(tc.target), untar.Options{})
		g.Expect(got.err).NotTo(HaveOccurred(), "a link that is left out is not looked at")
	}
	got := extract(t, link(strings.Repeat("a/../", 800)+"b"), untar.Options{Links: untar.Inside})
	g.Expect(got.err).NotTo(HaveOccurred())
	deep := &raw{}
	for i := range 200 {
		deep.pax("linkpath", strings.Repeat("a/", 120)+fmt.Sprint(i))
		deep.symlink(fmt.Sprintf("l%d", i), "x")
	}
	data := deep.end()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := untar.Walk(t.Context(), bytes.NewReader(data), nil, untar.Options{Compression: untar.None, Links: untar.Inside})
	runtime.ReadMemStats(&after)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(after.TotalAlloc - before.TotalAlloc).To(BeNumerically("<", 10*len(data)))
}

// TAR-11: a circle of links ends also without a limit on chains.
func TestLinksInACircle(t *testing.T) {
	g := NewWithT(t)
	r := &raw{}
	data := gz(r.symlink("a", "b").symlink("b", "c").symlink("c", "a").end())
	got := extract(t, data, untar.Options{Links: untar.Inside, Limits: untar.Limits{Hops: -1}})
	g.Expect(errors.Is(got.err, untar.ErrInvalidArchive)).To(BeTrue(), "%v", got.err)
	g.Expect(got.tree).To(BeEmpty())
}

// TAR-13: the end of ctx is noticed also while links are compared.
func TestCancelWhileLinksAreCompared(t *testing.T) {
	g := NewWithT(t)
	r := &raw{}
	for i := range 10 {
		r.symlink(fmt.Sprintf("l%d", i), "x")
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := untar.Walk(ctx, bytes.NewReader(r.end()), nil, untar.Options{
		Compression: untar.None, Links: untar.Inside,
		Filter: func(untar.Entry) bool {
			if n++; n == 10 {
				cancel()
			}
			return true
		},
	})
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
}
