// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// GIT-25: what a server may make a client wait for, to the second, on a clock
// that the test moves: 60 s before the first byte, anew with every packet; in
// the pack 30 s for each KiB; and our own pauses do not count.
func TestPatience(t *testing.T) {
	for name, f := range map[string]func(g Gomega, p git.Patient, w *io.PipeWriter){
		"Silent": func(g Gomega, p git.Patient, _ *io.PipeWriter) { stalls(g, p, 60*time.Second) },
		"KeepAlive": func(g Gomega, p git.Patient, w *io.PipeWriter) {
			go func() {
				for range 10 {
					pass(59 * time.Second)
					_, _ = io.WriteString(w, "0004")
				}
			}()
			start := time.Now()
			for range 10 {
				_, err := io.ReadFull(p, make([]byte, 4))
				g.Expect(err).NotTo(HaveOccurred())
			}
			g.Expect(time.Since(start)).To(Equal(590 * time.Second))
			stalls(g, p, 60*time.Second)
		},
		"OurPause": func(g Gomega, p git.Patient, w *io.PipeWriter) {
			go func() { _, _ = io.WriteString(w, "0004") }()
			pass(time.Hour) // a long request is on its way
			_, err := io.ReadFull(p, make([]byte, 4))
			g.Expect(err).NotTo(HaveOccurred())
			pass(time.Hour)
			stalls(g, p, 60*time.Second)
		},
		"Pack": func(g Gomega, p git.Patient, w *io.PipeWriter) {
			p.PackBegins()
			go func() {
				for range 100 {
					pass(29 * time.Second)
					_, _ = w.Write(make([]byte, 1024))
				}
			}()
			_, err := io.ReadFull(p, make([]byte, 100<<10))
			g.Expect(err).NotTo(HaveOccurred())
			pass(time.Hour)
			stalls(g, p, 30*time.Second)
		},
		"Drip": func(g Gomega, p git.Patient, w *io.PipeWriter) {
			p.PackBegins()
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() {
				for _, err := w.Write([]byte{1}); err == nil; _, err = w.Write([]byte{1}) {
					pass(100 * time.Millisecond)
				}
			})
			start := time.Now()
			n, err := io.Copy(io.Discard, p)
			g.Expect(errors.Is(err, git.ErrStalled)).To(BeTrue(), "%v", err)
			g.Expect(time.Since(start)).To(Equal(30 * time.Second))
			g.Expect(n).To(BeNumerically("~", 300, 1))
		},
		"NextCommand": func(g Gomega, p git.Patient, w *io.PipeWriter) {
			p.PackBegins()
			go func() { _, _ = w.Write(make([]byte, 2000)) }()
			_, err := io.ReadFull(p, make([]byte, 2000))
			g.Expect(err).NotTo(HaveOccurred())
			p.Asked()
			stalls(g, p, 60*time.Second)
		},
		"Closed": func(g Gomega, p git.Patient, _ *io.PipeWriter) {
			go func() {
				pass(time.Second)
				_ = p.Close()
			}()
			_, err := p.Read(make([]byte, 1))
			g.Expect(err).To(MatchError(io.ErrClosedPipe))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := io.Pipe()
				p := git.NewPatient(r)
				f(NewWithT(t), p, w)
				_ = p.Close()
			})
		})
	}
}

// pass moves the clock of the bubble.
func pass(d time.Duration) { <-time.After(d) }

// stalls expects the next Read to give up after so long.
func stalls(g Gomega, p git.Patient, after time.Duration) {
	start := time.Now()
	_, err := p.Read(make([]byte, 1))
	g.Expect(errors.Is(err, git.ErrStalled)).To(BeTrue(), "%v", err)
	g.Expect(time.Since(start)).To(Equal(after))
}

// GIT-25, GIT-18, N34: a server that takes a request and never says a word is
// given up over both transports, in every kind of request, and leaves nothing.
// The wait is made short, as TestPatience knows how long it is.
func TestFirstByte(t *testing.T) {
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	t.Run("http", func(t *testing.T) {
		g := NewWithT(t)
		var silent atomic.Value
		silent.Store("")
		repo.Configure(func(o *gitserver.RepoOptions) {
			o.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != silent.Load() {
					return false
				}
				_, _ = io.Copy(io.Discard, r.Body)
				kind := map[string]string{"GET": "advertisement", "POST": "result"}[r.Method]
				w.Header().Set("Content-Type", "application/x-git-upload-pack-"+kind)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return true
			}
		})
		o := e.options(t, false)
		o.HTTP.Attempts = 1
		c := client(t, repo.URL(), o)
		r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		git.SetFirstByteWait(c, 50*time.Millisecond)
		silent.Store(http.MethodPost)
		_, err = c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
		g.Expect(errors.Is(err, git.ErrStalled)).To(BeTrue(), "listing: %v", err)
		parent := t.TempDir()
		_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{})
		g.Expect(errors.Is(err, git.ErrStalled)).To(BeTrue(), "pack: %v", err)
		g.Expect(leftovers(t, parent)).To(BeEmpty())
		g.Expect(leftovers(t, o.TempDir)).To(BeEmpty())
		fresh := client(t, repo.URL(), o)
		git.SetFirstByteWait(fresh, 50*time.Millisecond)
		silent.Store(http.MethodGet)
		_, err = fresh.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
		g.Expect(errors.Is(err, git.ErrStalled)).To(BeTrue(), "advertisement: %v", err)
	})
	t.Run("ssh", func(t *testing.T) {
		g := NewWithT(t)
		defer e.srv.SetFaults()
		o := e.options(t, true)
		o.HTTP.Attempts = 1
		c := client(t, repo.SSHURL(), o)
		r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		git.SetFirstByteWait(c, 50*time.Millisecond)
		e.srv.SetFaults(fault.Plan{Match: fault.Match{Route: "upload-pack"}, Stall: 1})
		_, err = c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
		g.Expect(errors.Is(err, git.ErrStalled)).To(BeTrue(), "listing: %v", err)
		parent := t.TempDir()
		_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{})
		g.Expect(errors.Is(err, git.ErrStalled)).To(BeTrue(), "pack: %v", err)
		g.Expect(leftovers(t, parent)).To(BeEmpty())
		g.Expect(leftovers(t, o.TempDir)).To(BeEmpty())
	})
}

// GIT-25: a server that begins its answer and then compresses, with an empty
// packet now and then to say that it lives, has its 60 s, not those of a pack.
// It packs for six times as long as a pack may stand still, or until it is given up.
func TestPackingTakesTime(t *testing.T) {
	for name, tc := range map[string]struct {
		o    gitserver.Options
		head string
	}{"V2": {gitserver.Options{}, "000dpackfile\n"}, "V0": {gitserver.Options{V0Only: true}, "00000008NAK\n"}} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := start(t, tc.o)
			repo := e.srv.Repo("app")
			repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
			pack, err := repo.PackOf("main")
			g.Expect(err).NotTo(HaveOccurred())
			repo.Configure(func(o *gitserver.RepoOptions) {
				o.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
					b, _ := io.ReadAll(r.Body)
					r.Body = io.NopCloser(bytes.NewReader(b))
					if r.Method != http.MethodPost || !bytes.Contains(b, []byte("want ")) {
						return false
					}
					w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
					_, _ = io.WriteString(w, tc.head)
					say := http.NewResponseController(w)
					tick := time.NewTicker(50 * time.Millisecond)
					defer tick.Stop()
					for range 12 {
						_ = say.Flush()
						select {
						case <-tick.C:
						case <-r.Context().Done():
						}
						_, _ = io.WriteString(w, "0005\x01")
					}
					_, _ = fmt.Fprintf(w, "%04x\x01%s0000", len(pack)+5, pack)
					return true
				}
			})
			o := e.options(t, false)
			o.HTTP.Stall = 100 * time.Millisecond
			c := client(t, repo.URL(), o)
			r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}
