// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// cancelled runs f, cancels it once reached says that it waits, and looks that it
// ends, with nothing left. That nothing runs on is what TestMain looks at.
func cancelled(t *testing.T, o git.Options, reached func() bool, f func(ctx context.Context, dir string) error) {
	t.Helper()
	g := NewWithT(t)
	parent := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := make(chan error, 1)
	go func() { out <- f(ctx, filepath.Join(parent, "out")) }()
	g.Eventually(reached, patience).Should(BeTrue())
	g.Expect(out).NotTo(Receive())
	cancel()
	var err error
	g.Eventually(out, patience).Should(Receive(&err))
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
	g.Expect(leftovers(t, parent)).To(BeEmpty())
	g.Expect(leftovers(t, o.TempDir)).To(BeEmpty())
}

// GIT-18: whatever an operation waits for, it ends with its context, also when
// the server is silent or the network is gone.
func TestCancel(t *testing.T) {
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
	repo := e.srv.Repo("app")
	repo.Generate(gitserver.GenOptions{Bytes: 2_000_000})
	upload := fault.Match{Route: "upload-pack"}
	for name, tc := range map[string]struct {
		ssh    bool
		match  fault.Match
		after  int64 // bytes of the answer, then silence
		listed bool  // what is cancelled is the fetch after a listing
		dark   bool  // the network swallows everything from then on
	}{
		"Advertisement":    {match: adverts, after: 1},
		"Listing":          {match: upload, after: 1},
		"Fetch":            {match: upload, after: 1, listed: true},
		"Pack":             {match: upload, after: 1_000_000, listed: true},
		"Dark":             {match: upload, after: 1_000_000, listed: true, dark: true},
		"SSHAdvertisement": {ssh: true, match: upload, after: 1},
		"SSHPack":          {ssh: true, match: upload, after: 1_000_000, listed: true},
		"SSHDark":          {ssh: true, match: upload, after: 1_000_000, listed: true, dark: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			defer e.srv.SetFaults()
			defer e.srv.Resume()
			url := repo.URL()
			if tc.ssh {
				url = repo.SSHURL()
			}
			o := e.options(t, tc.ssh)
			c := client(t, url, o)
			f := func(ctx context.Context, _ string) error {
				_, err := c.List(ctx, git.ListOptions{})
				return err
			}
			if tc.listed {
				r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				f = func(ctx context.Context, dir string) error {
					_, err := c.Checkout(ctx, r, dir, git.CheckoutOptions{})
					return err
				}
			}
			before := e.srv.Count(tc.match)
			e.srv.SetFaults(fault.Plan{Match: tc.match, Stall: tc.after})
			cancelled(t, o, func() bool {
				if e.srv.Count(tc.match) == before {
					return false
				}
				if tc.dark {
					e.srv.Blackhole()
				}
				return true
			}, f)
		})
	}
	t.Run("Handshake", func(t *testing.T) { // a server that takes the connection and says nothing
		for _, scheme := range []string{"https", "ssh"} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			taken := make(chan net.Conn, 1)
			go func() {
				if c, err := l.Accept(); err == nil {
					taken <- c
				}
			}()
			o := e.options(t, scheme == "ssh")
			if scheme == "https" {
				o.HTTP.TLS = time.Second // net/http finishes a handshake for whoever comes next
			}
			_, port, _ := net.SplitHostPort(l.Addr().String())
			key := strings.Join(strings.Fields(string(e.srv.KnownHosts(gitserver.Plain)))[1:], " ")
			o.SSH.KnownHosts = []byte("[127.0.0.1]:" + port + " " + key + "\n")
			c := client(t, scheme+"://127.0.0.1:"+port+"/app", o)
			var peer net.Conn
			cancelled(t, o, func() bool {
				select {
				case peer = <-taken:
					return true
				default:
					return false
				}
			}, func(ctx context.Context, _ string) error {
				_, err := c.List(ctx, git.ListOptions{})
				return err
			})
			_, err = io.Copy(io.Discard, peer) // the socket is closed
			NewWithT(t).Expect(errors.Join(err, peer.Close())).NotTo(HaveOccurred())
		}
	})
	t.Run("Push", func(t *testing.T) {
		for _, ssh := range []bool{false, true} {
			g := NewWithT(t)
			e, o := e, e.options(t, true)
			if !ssh {
				e, o = writable(t, gitserver.Options{})
			}
			repo := e.srv.Repo("pushed")
			repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
			url := repo.URL()
			if ssh {
				url = repo.SSHURL()
			}
			r, err := client(t, url, o).Clone(t.Context(), git.Reference{}, filepath.Join(t.TempDir(), "w"), git.CloneOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			writeFile(t, r, "new", strings.Repeat("x", 100))
			_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "m"})
			g.Expect(err).NotTo(HaveOccurred())
			hold, entered := make(chan struct{}), make(chan struct{}, 1)
			repo.Configure(func(o *gitserver.RepoOptions) {
				o.PreReceive = func(*gitserver.Repo, []gitserver.Update) error {
					entered <- struct{}{}
					<-hold
					return errors.New("too late")
				}
			})
			cancelled(t, o, func() bool {
				select {
				case <-entered:
					return true
				default:
					return false
				}
			}, func(ctx context.Context, _ string) error {
				_, err := r.Push(ctx, git.PushOptions{})
				return err
			})
			close(hold)
			g.Expect(r.Close()).To(Succeed())
		}
	})
}
