// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact/fetch"
)

// ART-62, ART-60: while everything is leased, callers who ask together share a
// private tree. It stays whole until the last of them releases it, is nobody
// else's, and then goes.
func TestPrivateTreesAreShared(t *testing.T) {
	g := NewWithT(t)
	const callers = 16
	held, heldSum := archive(t, 20, 101)
	data, sum := archive(t, 40, 102)
	all := make(chan struct{})
	var asked sync.Once
	o := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			content(held, heldSum)(n, w, r)
			return
		}
		asked.Do(func() { <-all }) // the first download waits until everybody does
		content(data, sum)(n, w, r)
	})
	dir := t.TempDir()
	c := fetch.NewCache(fetch.CacheOptions{Dir: dir, Entries: 1})
	first, err := c.Tree(t.Context(), fetch.Ref{URL: o.URL + "/held", Digest: heldSum})
	g.Expect(err).NotTo(HaveOccurred())
	ref := fetch.Ref{URL: o.URL + "/private", Digest: sum}
	leases := make(chan *fetch.Lease, callers)
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			l, err := c.Tree(t.Context(), ref)
			if err != nil {
				t.Error(err)
				return
			}
			leases <- l
		})
	}
	g.Eventually(func() int { return fetch.Waiting(c, sum) }).WithTimeout(time.Minute).Should(Equal(callers))
	close(all)
	group.Wait()
	close(leases)
	g.Expect(o.requests()).To(HaveLen(2), "one download for all")
	whole := func(l *fetch.Lease) {
		t.Helper()
		g.Expect(contents(t, l.Root().FS())).To(HaveLen(40))
	}
	var mine []*fetch.Lease
	for l := range leases {
		mine = append(mine, l)
		g.Expect(l.Path()).To(Equal(mine[0].Path()))
		g.Expect(l.Path()).NotTo(HavePrefix(filepath.Join(dir, strings.Replace(sum, ":", "-", 1))+"/"), "it has no place in the cache")
	}
	later, err := c.Tree(t.Context(), ref)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.requests()).To(HaveLen(3), "nobody else gets it")
	g.Expect(later.Path()).NotTo(Equal(mine[0].Path()))
	for i, l := range mine {
		whole(l)
		if i == callers-1 {
			break
		}
		group.Go(l.Release)
		group.Go(l.Release) // a second time
	}
	group.Wait()
	last := mine[callers-1]
	whole(last)
	last.Release()
	_, err = os.Lstat(last.Path())
	g.Expect(errors.Is(err, fs.ErrNotExist)).To(BeTrue(), "it went with the last lease")
	whole(later)
	later.Release()
	first.Release()
	entries, err := os.ReadDir(dir)
	g.Expect(err).NotTo(HaveOccurred())
	var left []string
	for _, e := range entries {
		if e.IsDir() {
			left = append(left, e.Name())
		}
	}
	g.Expect(left).To(Equal([]string{strings.Replace(heldSum, ":", "-", 1)}))
	g.Expect(c.Close()).To(Succeed())
}
