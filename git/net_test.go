// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} //nolint:gochecknoglobals // a table that never changes

var adverts = fault.Match{Route: "info-refs"} //nolint:gochecknoglobals // a table that never changes

// trusting makes options that trust the authorities of several servers.
func trusting(t *testing.T, envs ...*env) git.Options {
	t.Helper()
	pool := x509.NewCertPool()
	for _, e := range envs {
		pool.AppendCertsFromPEM(e.srv.CA())
	}
	return git.Options{
		TempDir: t.TempDir(), TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		Credentials: git.Static(git.Credential{Username: "ann", Password: git.NewSecret("pw-canary")}),
	}
}

// N21, C07, GIT-8, GIT-T16: where a redirect may lead, and what goes with it.
func TestN21Redirects(t *testing.T) {
	auth := gitserver.Auth{Users: map[string]string{"ann": "pw-canary"}}
	a, b := start(t, gitserver.Options{TLS: true, Auth: auth}), start(t, gitserver.Options{TLS: true})
	plain := start(t, gitserver.Options{})
	for _, e := range []*env{a, b, plain} {
		e.srv.Repo("app").Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
		e.srv.Repo("new").Commit("main", gitserver.Files{"a": "renamed"}, gitserver.CommitOptions{})
	}
	const refs = "/info/refs?service=git-upload-pack"
	authorized := func(e *env, from int) (n int) {
		for _, r := range e.srv.Log()[from:] {
			if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
				n++
			}
		}
		return n
	}
	resolve := func(t *testing.T, o git.Options) error {
		_, err := client(t, a.srv.Repo("app").URL(), o).Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
		if err != nil {
			NewWithT(t).Expect(err.Error()).NotTo(ContainSubstring("canary"))
		}
		return err
	}
	t.Run("Renamed", func(t *testing.T) {
		g := NewWithT(t)
		a.srv.SetFaults(fault.Plan{Match: fault.Match{Route: "info-refs", Path: "/app*"}, Redirect: a.srv.Repo("new").URL() + refs, Status: 301})
		c := client(t, a.srv.Repo("app").URL(), trusting(t, a))
		r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred(), "the same origin keeps the credential")
		g.Expect(r.Commit.String()).To(Equal(string(a.srv.Repo("new").Head("main"))))
	})
	t.Run("Downgrade", func(t *testing.T) {
		g := NewWithT(t)
		before := len(plain.srv.Log())
		a.srv.SetFaults(fault.Plan{Match: adverts, Redirect: plain.srv.Repo("app").URL() + refs})
		o := trusting(t, a)
		o.Net.AllowCIDR = loopback
		err := resolve(t, o)
		g.Expect(errors.Is(err, git.ErrRedirectBlocked)).To(BeTrue(), "%v", err)
		g.Expect(plain.srv.Log()).To(HaveLen(before))
	})
	t.Run("OtherPort", func(t *testing.T) {
		g := NewWithT(t)
		a.srv.SetFaults(fault.Plan{Match: adverts, Redirect: b.srv.Repo("app").URL() + refs})
		err := resolve(t, trusting(t, a, b))
		g.Expect(errors.Is(err, git.ErrAddressBlocked)).To(BeTrue(), "an address that the server supplied: %v", err)
		o := trusting(t, a, b)
		o.Net.AllowCIDR = loopback
		before := len(b.srv.Log())
		g.Expect(resolve(t, o)).To(Succeed())
		g.Expect(len(b.srv.Log())).To(BeNumerically(">", before))
		g.Expect(authorized(b, before)).To(BeZero())
	})
	t.Run("AndBack", func(t *testing.T) {
		g := NewWithT(t)
		a.srv.SetFaults(fault.Plan{Match: fault.Match{Route: "info-refs", Path: "/app*"}, Redirect: b.srv.Repo("app").URL() + refs})
		b.srv.SetFaults(fault.Plan{Match: adverts, Redirect: a.srv.Repo("new").URL() + refs})
		defer b.srv.SetFaults()
		o := trusting(t, a, b)
		o.Net.AllowCIDR = loopback
		before := len(a.srv.Log())
		err := resolve(t, o)
		g.Expect(errors.Is(err, git.ErrAuth)).To(BeTrue(), "%v", err)
		g.Expect(authorized(a, before)).To(Equal(1), "only the first request has the credential")
	})
	t.Run("ClientCertificate", func(t *testing.T) {
		g := NewWithT(t)
		m := start(t, gitserver.Options{RequireClientCert: true})
		a.srv.SetFaults(fault.Plan{Match: adverts, Redirect: m.srv.URL() + "/app" + refs})
		o := trusting(t, a, m)
		o.Net.AllowCIDR = loopback
		o.HTTP.Attempts = 1
		pair, err := m.srv.ClientCert("ann")
		g.Expect(err).NotTo(HaveOccurred())
		cert, err := pair.TLS()
		g.Expect(err).NotTo(HaveOccurred())
		o.TLS.Certificates = []tls.Certificate{cert}
		g.Expect(resolve(t, o)).NotTo(Succeed())
		g.Expect(m.srv.Log()).To(BeEmpty(), "the certificate stays with its origin")
	})
	t.Run("ElsewhereBelow", func(t *testing.T) {
		g := NewWithT(t)
		a.srv.SetFaults(fault.Plan{Match: adverts, Redirect: a.srv.URL() + "/login"})
		err := resolve(t, trusting(t, a))
		g.Expect(errors.Is(err, git.ErrRedirectBlocked)).To(BeTrue(), "%v", err)
	})
	t.Run("LaterRequest", func(t *testing.T) {
		g := NewWithT(t)
		a.srv.SetFaults(fault.Plan{Match: fault.Match{Route: "upload-pack"}, Redirect: a.srv.Repo("new").URL() + "/git-upload-pack"})
		err := resolve(t, trusting(t, a))
		g.Expect(errors.Is(err, git.ErrRedirectBlocked)).To(BeTrue(), "%v", err)
	})
}

// N35
func TestN35RedirectLoops(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	for name, target := range map[string]string{
		"Self": repo.URL() + "/info/refs?service=git-upload-pack", "File": "file:///etc/passwd/info/refs", "Gopher": "gopher://127.0.0.1:1/info/refs",
		"SSH": "ssh://127.0.0.1/info/refs", "Userinfo": strings.Replace(repo.URL(), "://", "://a:b@", 1) + "/info/refs", "None": "http://%zz/info/refs",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e.srv.SetFaults(fault.Plan{Match: adverts, Redirect: target})
			before := len(e.srv.Log())
			_, err := client(t, repo.URL(), e.options(t, false)).Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
			g.Expect(errors.Is(err, git.ErrRedirectBlocked)).To(BeTrue(), "%v", err)
			g.Expect(len(e.srv.Log()) - before).To(BeNumerically("<=", 6))
		})
	}
}

// N34, GIT-25, GIT-18: a server that does not answer, or hardly.
func TestN34Slow(t *testing.T) {
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
	repo := e.srv.Repo("app")
	repo.Generate(gitserver.GenOptions{Files: 4, Bytes: 64 << 10})
	for _, transport := range []string{"http", "ssh"} {
		options := func(t *testing.T) git.Options {
			o := e.options(t, transport == "ssh")
			o.HTTP.Attempts = 1
			return o
		}
		url := map[string]string{"http": repo.URL(), "ssh": repo.SSHURL()}[transport]
		packs := fault.Match{Route: "upload-pack"}
		t.Run("Stalled/"+transport, func(t *testing.T) {
			g := NewWithT(t)
			defer e.srv.SetFaults()
			o := options(t)
			o.HTTP.Stall = 300 * time.Millisecond
			c := client(t, url, o)
			r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			e.srv.SetFaults(fault.Plan{Match: packs, Stall: 32 << 10})
			parent := t.TempDir()
			_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{})
			g.Expect(errors.Is(err, git.ErrStalled)).To(BeTrue(), "%v", err)
			g.Expect(leftovers(t, parent)).To(BeEmpty())
			g.Expect(leftovers(t, o.TempDir)).To(BeEmpty())
		})
		t.Run("Cancelled/"+transport, func(t *testing.T) {
			g := NewWithT(t)
			defer e.srv.SetFaults()
			o := options(t)
			c := client(t, url, o)
			r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			e.srv.SetFaults(fault.Plan{Match: packs, Stall: 32 << 10})
			next := e.srv.Count(packs) + 1
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("because")
			go func() {
				_ = e.srv.Wait(t.Context(), packs, next) // the request has to be on its way
				cancel(why)
			}()
			parent := t.TempDir()
			_, err = c.Checkout(ctx, r, filepath.Join(parent, "out"), git.CheckoutOptions{})
			g.Expect(errors.Is(err, context.Canceled) || errors.Is(err, why)).To(BeTrue(), "%v", err)
			g.Expect(leftovers(t, parent)).To(BeEmpty())
			g.Expect(leftovers(t, o.TempDir)).To(BeEmpty())
		})
	}
	t.Run("NoHeader", func(t *testing.T) {
		g := NewWithT(t)
		defer e.srv.SetFaults()
		o := e.options(t, false)
		o.HTTP.Attempts, o.HTTP.Header = 1, 200*time.Millisecond
		e.srv.SetFaults(fault.Plan{Match: adverts, Delay: time.Hour})
		_, err := client(t, repo.URL(), o).Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
		var timeout net.Error
		g.Expect(errors.As(err, &timeout) && timeout.Timeout()).To(BeTrue(), "%v", err)
	})
	t.Run("NoHandshake", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		defer func() { _ = l.Close() }() // its backlog accepts, and nobody speaks
		_, port, _ := net.SplitHostPort(l.Addr().String())
		for _, scheme := range []string{"https", "ssh"} {
			g := NewWithT(t)
			o := e.options(t, false)
			o.HTTP.Attempts, o.HTTP.TLS = 1, 200*time.Millisecond
			o.SSH.KnownHosts = []byte("[127.0.0.1]:" + port + " " + otherKey(t, gitserver.Ed25519) + "\n")
			_, err := client(t, scheme+"://127.0.0.1:"+port+"/x", o).Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
			var timeout net.Error
			g.Expect(errors.As(err, &timeout) && timeout.Timeout()).To(BeTrue(), "%s: %v", scheme, err)
		}
	})
}

// N33: answers without an end stop at their limit.
func TestN33Endless(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	t.Run("Listing", func(t *testing.T) {
		g := NewWithT(t)
		repo.Configure(func(o *gitserver.RepoOptions) { o.EndlessRefs = true })
		defer repo.Configure(func(o *gitserver.RepoOptions) { o.EndlessRefs = false })
		o := e.options(t, false)
		o.Limits.Advertisement, o.Limits.Refs = 64<<10, -1
		_, err := client(t, repo.URL(), o).List(t.Context(), git.ListOptions{})
		g.Expect(limitName(t, err)).To(Equal("git-advertisement"))
		o.Limits.Advertisement, o.Limits.Refs = 0, 100
		_, err = client(t, repo.URL(), o).List(t.Context(), git.ListOptions{})
		g.Expect(limitName(t, err)).To(Equal("git-refs"))
	})
	t.Run("Pack", func(t *testing.T) {
		g := NewWithT(t)
		repo.ServePack(func(w io.Writer) error {
			head := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) { b.Count(1 << 20) })
			if _, err := w.Write(head[:12]); err != nil {
				return err
			}
			entry := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) { b.Object(gitserver.BlobObject, []byte(strings.Repeat("x", 1<<12))) })
			entry = entry[12 : len(entry)-20]
			for {
				if _, err := w.Write(entry); err != nil {
					return err
				}
			}
		})
		defer repo.ServePack(nil)
		o := e.options(t, false)
		o.Limits.Pack = 128 << 10
		err := refuse(t, repo, git.Reference{Branch: "main"}, o, git.ErrLimit)
		g.Expect(limitName(t, err)).To(Equal("git-pack"))
	})
	t.Run("ErrorPage", func(t *testing.T) {
		g := NewWithT(t)
		repo.Configure(func(o *gitserver.RepoOptions) {
			o.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
				w.WriteHeader(http.StatusForbidden)
				for r.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 4096)); err != nil {
						break
					}
				}
				return true
			}
		})
		defer repo.Configure(func(o *gitserver.RepoOptions) { o.Intercept = nil })
		_, err := client(t, repo.URL(), e.options(t, false)).List(t.Context(), git.ListOptions{})
		g.Expect(errors.Is(err, git.ErrForbidden)).To(BeTrue(), "%v", err)
	})
}

// N46, GIT-23: what a server says is shown on one short line.
func TestN46ForeignText(t *testing.T) {
	nasty := "line\nbreak \x1b[2J \u202e right \x00 \xff " + strings.Repeat("long ", 1<<18)
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{Banner: "\x1b[2Jbanner\n"}})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{Message: nasty[:40], Author: gitserver.Signature{Name: "A\u202e", Email: "a@x"}})
	clean := func(t *testing.T, err error) {
		t.Helper()
		g := NewWithT(t)
		g.Expect(err).To(HaveOccurred())
		g.Expect(len(err.Error())).To(BeNumerically("<=", 2<<10))
		for _, bad := range []string{"\n", "\x1b", "\u202e", "\x00", "\xff"} {
			g.Expect(strings.Contains(err.Error(), bad)).To(BeFalse(), "%q in %q", bad, err.Error())
		}
	}
	for transport, url := range map[string]string{"http": repo.URL(), "ssh": repo.SSHURL()} {
		t.Run("Sideband/"+transport, func(t *testing.T) {
			repo.Configure(func(o *gitserver.RepoOptions) { o.BandError = nasty[:60_000] })
			defer repo.Configure(func(o *gitserver.RepoOptions) { o.BandError = "" })
			c := client(t, url, e.options(t, transport == "ssh"))
			r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
			clean(t, err)
			var remote *git.RemoteError
			NewWithT(t).Expect(errors.As(err, &remote)).To(BeTrue(), "%v", err)
		})
		t.Run("Progress/"+transport, func(t *testing.T) {
			repo.Configure(func(o *gitserver.RepoOptions) { o.Progress = nasty[:60_000] })
			defer repo.Configure(func(o *gitserver.RepoOptions) { o.Progress = "" })
			c := client(t, url, e.options(t, transport == "ssh"))
			r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
		})
	}
	t.Run("Hook", func(t *testing.T) {
		g := NewWithT(t)
		w, o := writable(t, gitserver.Options{Repo: gitserver.RepoOptions{PreReceive: func(*gitserver.Repo, []gitserver.Update) error { return errors.New(nasty[:2000]) }}})
		target := w.srv.Repo("app")
		r, err := client(t, target.URL(), o).Clone(t.Context(), git.Reference{}, filepath.Join(t.TempDir(), "w"), git.CloneOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		defer func() { _ = r.Close() }()
		writeFile(t, r, "a", "1")
		_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "m"})
		g.Expect(err).NotTo(HaveOccurred())
		res, err := r.Push(t.Context(), git.PushOptions{})
		g.Expect(errors.Is(err, git.ErrPushRejected)).To(BeTrue(), "%v", err)
		clean(t, err)
		g.Expect(res[0].Rejected).NotTo(ContainSubstring("\x1b"))
	})
	t.Run("Header", func(t *testing.T) {
		repo.Configure(func(o *gitserver.RepoOptions) {
			o.Intercept = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Type", "text/\u202e"+strings.Repeat("x", 2000))
				_, _ = io.WriteString(w, "x")
				return true
			}
		})
		defer repo.Configure(func(o *gitserver.RepoOptions) { o.Intercept = nil })
		_, err := client(t, repo.URL(), e.options(t, false)).List(t.Context(), git.ListOptions{})
		clean(t, err)
	})
	t.Run("Asked", func(t *testing.T) {
		_, err := client(t, repo.URL(), e.options(t, false)).Resolve(t.Context(), git.Reference{SemVer: nasty}, git.ResolveOptions{})
		clean(t, err)
	})
}

// GIT-17, NET-9: what changed nothing is repeated, within bounds.
func TestRetries(t *testing.T) {
	e, o := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	count := func(f func()) int {
		before := len(e.srv.Log())
		f()
		return len(e.srv.Log()) - before
	}
	for name, tc := range map[string]struct {
		plan     fault.Plan
		requests int // 2 are a listing
		want     bool
	}{
		"503":        {fault.Plan{Match: adverts, Status: 503, Times: 2}, 4, true},
		"429":        {fault.Plan{Match: adverts, Status: 429, Times: 1, RetryAfter: time.Hour}, 3, true},
		"Reset":      {fault.Plan{Match: adverts, RST: true, Times: 1}, 3, true},
		"Dropped":    {fault.Plan{Match: fault.Match{Route: "upload-pack"}, Drop: true, Times: 1}, 3, true},
		"InAdvert":   {fault.Plan{Match: adverts, CutAfter: 20, Times: 1}, 3, true},
		"InListing":  {fault.Plan{Match: fault.Match{Route: "upload-pack"}, CutAfter: 20, Times: 1}, 3, true},
		"NoHeader":   {fault.Plan{Match: adverts, Delay: time.Hour, Times: 1}, 3, true},
		"TooOften":   {fault.Plan{Match: adverts, Status: 503}, 3, false},
		"BadRequest": {fault.Plan{Match: adverts, Status: 400}, 1, false},
		"Gone":       {fault.Plan{Match: adverts, Status: 404}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			defer e.srv.SetFaults()
			e.srv.SetFaults(tc.plan)
			o := o
			o.HTTP.Attempts, o.HTTP.RetryAfter = 3, 10*time.Millisecond
			if tc.plan.Delay > 0 {
				o.HTTP.Header, o.HTTP.Attempts = 2*time.Second, 20 // on a busy machine others may take so long, too
			}
			n := count(func() {
				_, err := client(t, repo.URL(), o).List(t.Context(), git.ListOptions{})
				g.Expect(err == nil).To(Equal(tc.want), "%v", err)
			})
			if tc.plan.Delay > 0 {
				g.Expect(n).To(BeNumerically(">=", tc.requests))
			} else {
				g.Expect(n).To(Equal(tc.requests))
			}
		})
	}
	t.Run("Refused", func(t *testing.T) {
		e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
		key := strings.Join(strings.Fields(string(e.srv.KnownHosts(gitserver.Plain)))[1:], " ")
		for _, url := range []string{"http://127.0.0.1:1/app", "ssh://127.0.0.1:1/app"} {
			g := NewWithT(t)
			o := e.options(t, true)
			o.SSH.KnownHosts = []byte("[127.0.0.1]:1 " + key + "\n")
			if strings.HasPrefix(url, "http") {
				o.Credentials = nil
			}
			o.HTTP.Attempts = 3
			var n atomic.Int32
			o.Observe = func(git.Event) { n.Add(1) }
			_, err := client(t, url, o).List(t.Context(), git.ListOptions{})
			g.Expect(errors.Is(err, syscall.ECONNREFUSED)).To(BeTrue(), "%v", err)
			g.Expect(n.Load()).To(BeEquivalentTo(3), url)
		}
	})
	t.Run("Pack", func(t *testing.T) { // until its first byte
		posts := fault.Match{Method: "POST", Route: "upload-pack"}
		repo.Generate(gitserver.GenOptions{Branch: "big", Bytes: 200_000})
		for after, want := range map[int64]int{5: 2, 13: 2, 150_000: 1} {
			g := NewWithT(t)
			o := o
			o.HTTP.Attempts = 3
			c := client(t, repo.URL(), o)
			r, err := c.Resolve(t.Context(), git.Reference{Branch: "big"}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			e.srv.SetFaults(fault.Plan{Match: posts, CutAfter: after, Times: 1})
			sent, parent := e.srv.Count(posts), t.TempDir()
			_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{})
			e.srv.SetFaults()
			g.Expect(err == nil).To(Equal(want > 1), "after %d: %v", after, err)
			g.Expect(e.srv.Count(posts)-sent).To(Equal(want), "after %d", after)
			if want == 1 {
				g.Expect(errors.Is(err, io.ErrUnexpectedEOF)).To(BeTrue(), "%v", err)
				g.Expect(leftovers(t, parent)).To(BeEmpty())
			}
		}
	})
	t.Run("PushOnce", func(t *testing.T) {
		g := NewWithT(t)
		defer e.srv.SetFaults()
		r, err := client(t, repo.URL(), o).Clone(t.Context(), git.Reference{Branch: "main"}, filepath.Join(t.TempDir(), "w"), git.CloneOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		defer func() { _ = r.Close() }()
		writeFile(t, r, "a", "2")
		_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "m"})
		g.Expect(err).NotTo(HaveOccurred())
		before := repo.Head("main")
		posts := fault.Match{Method: "POST", Route: "receive-pack"}
		sent := e.srv.Count(posts)
		e.srv.SetFaults(fault.Plan{Match: posts, Status: 503})
		_, err = r.Push(t.Context(), git.PushOptions{})
		g.Expect(err).To(HaveOccurred())
		g.Expect(e.srv.Count(posts)-sent).To(Equal(1), "a push is never repeated")
		g.Expect(repo.Head("main")).To(Equal(before))
	})
}

// GIT-24: answers that are not Git's.
func TestNotGit(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	for name, tc := range map[string]struct{ typ, body, says string }{
		"LoginPage": {"text/html", "<html>", "text/html"}, "Dumb": {"text/plain", "1111111111111111111111111111111111111111\trefs/heads/main\n", "dumb"},
		"PageInDisguise": {"application/x-git-upload-pack-advertisement", "<!DOCTYPE html><html>", ""}, "JSON": {"application/json", "{}", "json"}, "None": {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			repo.Configure(func(o *gitserver.RepoOptions) {
				o.Intercept = func(w http.ResponseWriter, _ *http.Request) bool {
					w.Header()["Content-Type"] = []string{tc.typ}
					_, _ = io.WriteString(w, tc.body)
					return true
				}
			})
			_, err := client(t, repo.URL(), e.options(t, false)).List(t.Context(), git.ListOptions{})
			g.Expect(errors.Is(err, git.ErrNotGit)).To(BeTrue(), "%v", err)
			g.Expect(err.Error()).To(ContainSubstring(tc.says))
		})
	}
	repo.Configure(func(o *gitserver.RepoOptions) { o.Intercept = gitserver.HTMLPage })
	_, err := client(t, repo.URL(), e.options(t, false)).Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	NewWithT(t).Expect(errors.Is(err, git.ErrNotGit)).To(BeTrue(), "%v", err)
}

// GIT-23: packets that the protocol does not have.
func TestBrokenPackets(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	id := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	pkt := func(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
	for name, tc := range map[string]struct {
		body string
		want error
	}{
		"Three": {"0003", git.ErrProtocol}, "NoHex": {"zzzz", git.ErrProtocol}, "TooLong": {"fff1" + strings.Repeat("x", 65517), git.ErrProtocol},
		"ResponseEnd": {"0002", git.ErrProtocol}, "Unknown": {pkt("secrets\n") + "0000", git.ErrProtocol}, "NoSection": {"0000", git.ErrProtocol},
		"Twice":   {pkt("shallow-info\n") + "0001" + pkt("shallow-info\n") + "0001" + pkt("packfile\n"), git.ErrProtocol},
		"Order":   {pkt("wanted-refs\n") + "0001" + pkt("shallow-info\n") + "0001" + pkt("packfile\n"), git.ErrProtocol},
		"Error":   {pkt("ERR no\x1b such thing"), git.ErrRemote},
		"Band3":   {pkt("packfile\n") + pkt("\x03sorry\n"), git.ErrRemote},
		"Band4":   {pkt("packfile\n") + pkt("\x04sorry\n"), git.ErrProtocol},
		"Empty":   {"", io.ErrUnexpectedEOF},
		"NoPack":  {pkt("packfile\n") + "0000", git.ErrMalformedPack},
		"BadPack": {pkt("packfile\n") + pkt("\x01PACKxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx") + "0000", git.ErrMalformedPack},
	} {
		t.Run(name, func(t *testing.T) {
			repo.Configure(func(o *gitserver.RepoOptions) {
				o.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method != http.MethodPost {
						return false
					}
					b, _ := io.ReadAll(r.Body)
					r.Body = io.NopCloser(strings.NewReader(string(b)))
					if !strings.Contains(string(b), "command=fetch") {
						return false
					}
					w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
					_, _ = io.WriteString(w, tc.body)
					return true
				}
			})
			o := e.options(t, false)
			o.HTTP.Attempts = 1
			err := refuse(t, repo, git.Reference{Commit: string(id), Branch: "main"}, o, tc.want)
			NewWithT(t).Expect(err.Error()).NotTo(ContainSubstring("\x1b"))
		})
	}
}
