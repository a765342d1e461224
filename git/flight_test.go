// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// gate holds back the requests whose body has a word, until it is opened.
type gate struct {
	word string
	in   chan struct{} // one for each request held
	gone chan struct{} // one for each whose client left
	open chan struct{}
}

func newGate(repo *gitserver.Repo, word string) *gate {
	h := &gate{word: word, in: make(chan struct{}, 100), gone: make(chan struct{}, 100), open: make(chan struct{})}
	repo.Configure(func(o *gitserver.RepoOptions) {
		o.Intercept = func(_ http.ResponseWriter, r *http.Request) bool {
			b, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(b))
			if !bytes.Contains(b, []byte(h.word)) {
				return false
			}
			h.in <- struct{}{}
			select {
			case <-h.open:
				return false
			case <-r.Context().Done():
				h.gone <- struct{}{}
				return true
			}
		}
	})
	return h
}

// GIT-77: callers of the same share one request; one that leaves takes nothing
// from the others, and the last one ends it.
func TestMirrorFlights(t *testing.T) {
	for name, tc := range map[string]struct {
		word string
		call func(ctx context.Context, c *git.Client, r *git.Resolved, dir string) error
	}{
		"Listing": {"command=ls-refs", func(ctx context.Context, c *git.Client, _ *git.Resolved, _ string) error {
			_, err := c.Resolve(ctx, git.Reference{Branch: "main"}, git.ResolveOptions{})
			return err
		}},
		"Commit": {"command=fetch", func(ctx context.Context, c *git.Client, r *git.Resolved, dir string) error {
			_, err := c.Checkout(ctx, r, dir, git.CheckoutOptions{})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := start(t, gitserver.Options{})
			repo := e.srv.Repo("app")
			repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
			m, _ := newMirror(t, git.MirrorOptions{})
			o := e.options(t, false)
			o.Mirror, o.Conns = m, git.NewPool()
			t.Cleanup(func() { _ = o.Conns.Close() })
			c := client(t, repo.URL(), o)
			r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			begin := func(n int) (leave []context.CancelFunc, errs []chan error) {
				for range n {
					ctx, cancel := context.WithCancel(t.Context())
					t.Cleanup(cancel)
					out, mine, dir := make(chan error, 1), client(t, repo.URL(), o), filepath.Join(t.TempDir(), "out")
					go func() { out <- tc.call(ctx, mine, r, dir) }()
					leave, errs = append(leave, cancel), append(errs, out)
				}
				return leave, errs
			}
			waiting := func() int {
				_, n := git.Flights(m)
				return n
			}

			h := newGate(repo, tc.word)
			leave, errs := begin(5)
			g.Eventually(waiting, patience).Should(Equal(5))
			g.Eventually(h.in, patience).Should(Receive())
			for i := range 3 { // the one that began it among them
				leave[i]()
				var err error
				g.Eventually(errs[i], patience).Should(Receive(&err))
				g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
			}
			g.Expect(waiting()).To(Equal(2))
			close(h.open)
			for _, err := range errs[3:] {
				g.Eventually(err, patience).Should(Receive(BeNil()))
			}
			g.Expect(h.in).To(BeEmpty(), "one request for all")
			g.Expect(h.gone).To(BeEmpty())

			r.Commit = newCommit(g, repo) // the mirror has it not
			r.Revision.Hash = r.Commit
			h = newGate(repo, tc.word)
			leave, errs = begin(2)
			g.Eventually(waiting, patience).Should(Equal(2))
			g.Eventually(h.in, patience).Should(Receive())
			for i := range leave {
				leave[i]()
				g.Eventually(errs[i], patience).Should(Receive(HaveOccurred()))
			}
			g.Eventually(h.gone, patience).Should(Receive(), "nobody waits any more")
			g.Eventually(func() int { n, _ := git.Flights(m); return n }, patience).Should(BeZero())
			repo.Configure(func(o *gitserver.RepoOptions) { o.Intercept = nil })
			g.Expect(tc.call(t.Context(), c, r, filepath.Join(t.TempDir(), "out"))).To(Succeed(), "and the next one begins anew")
		})
	}
}

func newCommit(g Gomega, repo *gitserver.Repo) git.Hash {
	id, err := git.ParseHash(string(repo.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{})))
	g.Expect(err).NotTo(HaveOccurred())
	return id
}

// GIT-77: a finished listing is shared as long as ListReuse says, and then
// nothing of it stays.
func TestListReuse(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	repo.Ref("refs/heads/other", "main")
	resolve := func(m *git.Mirror, branch string) {
		o := e.options(t, false)
		o.Mirror = m
		_, err := client(t, repo.URL(), o).Resolve(t.Context(), git.Reference{Branch: branch}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
	}
	long, _ := newMirror(t, git.MirrorOptions{ListReuse: time.Hour})
	before := repo.Stats().Listings
	for range 3 {
		resolve(long, "main")
	}
	g.Expect(repo.Stats().Listings - before).To(Equal(1))
	resolve(long, "other")
	g.Expect(repo.Stats().Listings-before).To(Equal(2), "another prefix, another listing")

	short, _ := newMirror(t, git.MirrorOptions{ListReuse: time.Millisecond})
	for range 20 {
		resolve(short, "main")
		resolve(short, "other")
	}
	g.Eventually(func() int { n, _ := git.Flights(short); return n }, patience).Should(BeZero())

	none, _ := newMirror(t, git.MirrorOptions{})
	before = repo.Stats().Listings
	resolve(none, "main")
	resolve(none, "main")
	g.Expect(repo.Stats().Listings - before).To(Equal(2))
}
