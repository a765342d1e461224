// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// GIT-5, GIT-6, GIT-4
func TestCredentials(t *testing.T) {
	e := start(t, gitserver.Options{TLS: true, Auth: gitserver.Auth{Users: map[string]string{"ann": "s3cret-canary"}, Tokens: map[string]string{"tok-canary": "ann"}}})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{})
	cases := map[string]struct {
		reason string
		url    string
		cred   git.Credential
		want   error
	}{
		"Basic":        {"user and password", repo.URL(), git.Credential{Username: "ann", Password: git.NewSecret("s3cret-canary")}, nil},
		"Bearer":       {"a token", repo.URL(), git.Credential{Bearer: git.NewSecret("tok-canary")}, nil},
		"Userinfo":     {"from the URL", strings.Replace(repo.URL(), "://", "://ann:s3cret-canary@", 1), git.Credential{}, nil},
		"Wrong":        {"a wrong password", repo.URL(), git.Credential{Username: "ann", Password: git.NewSecret("wrong-canary")}, git.ErrAuth},
		"Anonymous":    {"none", repo.URL(), git.Credential{}, git.ErrAuth},
		"Both":         {"contradicting", repo.URL(), git.Credential{Username: "ann", Password: git.NewSecret("s3cret-canary"), Bearer: git.NewSecret("tok-canary")}, git.ErrInvalidOption},
		"NoName":       {"a password without name", repo.URL(), git.Credential{Password: git.NewSecret("s3cret-canary")}, git.ErrInvalidOption},
		"KeyOverHTTPS": {"an ssh key", repo.URL(), git.Credential{SSHKey: git.NewSecret("canary")}, git.ErrInvalidOption},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := e.options(t, false)
			o.Credentials = git.Static(tc.cred)
			before := len(e.srv.Log())
			c := client(t, tc.url, o)
			_, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
			if tc.want == nil {
				g.Expect(err).NotTo(HaveOccurred(), tc.reason)
				g.Expect(len(e.srv.Log())-before).To(Equal(2), "credentials go with the first request")
				return
			}
			g.Expect(errors.Is(err, tc.want)).To(BeTrue(), "%s: %v", tc.reason, err)
			g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
			if errors.Is(tc.want, git.ErrInvalidOption) {
				g.Expect(e.srv.Log()).To(HaveLen(before), "nothing was sent")
			}
		})
	}
}

// GIT-20: one round trip when the host is known.
func TestRoundTrips(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{TLS: true})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{})
	c := client(t, repo.URL(), e.options(t, false))
	count := func(f func()) int {
		before := len(e.srv.Log())
		f()
		return len(e.srv.Log()) - before
	}
	var r *git.Resolved
	resolve := func() {
		var err error
		r, err = c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(count(resolve)).To(Equal(2), "first contact")
	g.Expect(count(resolve)).To(Equal(1), "version 2 is remembered")
	g.Expect(count(func() {
		_, err := c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
		g.Expect(err).NotTo(HaveOccurred())
	})).To(Equal(1), "checkout after resolve")
	g.Expect(count(func() {
		_, err := c.Resolve(t.Context(), git.Reference{Commit: r.Commit.String()}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
	})).To(Equal(0), "a commit needs no request")

	other := e.srv.Repo("other")
	other.Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{})
	o := e.options(t, false)
	o.Conns = git.NewPool()
	a, b := client(t, repo.URL(), o), client(t, other.URL(), o)
	_, err := a.List(t.Context(), git.ListOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(count(func() {
		l, err := b.List(t.Context(), git.ListOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(l.Head).To(Equal("refs/heads/main"))
	})).To(Equal(1), "remembered by host")
	g.Expect(count(func() { // the same host by another authority may be another host
		o := o
		o.TLS = o.TLS.Clone()
		_, err := client(t, other.URL(), o).List(t.Context(), git.ListOptions{})
		g.Expect(err).NotTo(HaveOccurred())
	})).To(Equal(2))
	g.Expect(o.Conns.Close()).To(Succeed())
}

// GIT-16, GIT-20: a listing that brings nothing new is one POST on the connection
// of the one before, credentials included, without a 401, an Expect, or a body
// that is compressed for nothing.
func TestNoOpRequests(t *testing.T) {
	for _, o := range []gitserver.Options{{}, {TLS: true}, {TLS: true, HTTP2: true}} {
		g := NewWithT(t)
		o.Auth.Users = map[string]string{"ann": "pw"}
		e := start(t, o)
		repo := e.srv.Repo("app")
		repo.Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{})
		var mu sync.Mutex
		var seen []string
		peers := map[string]bool{}
		repo.Configure(func(ro *gitserver.RepoOptions) {
			ro.Intercept = func(_ http.ResponseWriter, r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				_, password, _ := r.BasicAuth()
				seen = append(seen, fmt.Sprint(r.Method, r.Header.Get("Expect"), r.Header.Get("Content-Encoding"), r.TransferEncoding, r.ContentLength > 0, password))
				peers[r.RemoteAddr] = true
				return false
			}
		})
		co := e.options(t, false)
		co.Credentials = git.Static(git.Credential{Username: "ann", Password: git.NewSecret("pw")})
		c := client(t, repo.URL(), co)
		r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		for range 10 {
			again, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{Known: r.Revision})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(again.Unchanged).To(BeTrue())
		}
		mu.Lock()
		g.Expect(seen).To(HaveLen(12))
		g.Expect(seen[0]).To(HavePrefix("GET"))
		for _, s := range seen[1:] {
			g.Expect(s).To(Equal("POST[] truepw"))
		}
		g.Expect(peers).To(HaveLen(1), "one connection")
		mu.Unlock()
	}
}

// N19, GIT-12
func TestHostKeyRequired(t *testing.T) {
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{HostCertificate: true}})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{})
	good := string(e.srv.KnownHosts(gitserver.Plain))
	key := strings.Fields(strings.SplitN(good, "\n", 2)[0])
	for name, kh := range map[string]string{"Nil": "", "Blank": "\n\n", "Comments": "# nothing\n#x\n"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := e.options(t, true)
			o.SSH.KnownHosts = []byte(kh)
			_, err := git.New(repo.SSHURL(), o)
			g.Expect(errors.Is(err, git.ErrHostKeyUnknown)).To(BeTrue(), "%v", err)
		})
	}
	t.Run("OtherHost", func(t *testing.T) {
		g := NewWithT(t)
		o := e.options(t, true)
		o.SSH.KnownHosts = []byte("other.example " + key[1] + " " + key[2] + "\n")
		c := client(t, repo.SSHURL(), o)
		before := len(e.srv.Log())
		_, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
		g.Expect(errors.Is(err, git.ErrHostKeyUnknown)).To(BeTrue(), "%v", err)
		g.Expect(e.srv.Log()).To(HaveLen(before))
	})
	t.Run("OtherKey", func(t *testing.T) {
		g := NewWithT(t)
		_, pub, err := gitserver.NewKey(gitserver.Ed25519, "")
		g.Expect(err).NotTo(HaveOccurred())
		o := e.options(t, true)
		o.SSH.KnownHosts = []byte(key[0] + " " + strings.TrimSpace(pub) + "\n")
		c := client(t, repo.SSHURL(), o)
		_, err = c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
		g.Expect(errors.Is(err, git.ErrHostKeyMismatch)).To(BeTrue(), "%v", err)
		var he *git.HostKeyError
		g.Expect(errors.As(err, &he)).To(BeTrue(), "%v", err)
		g.Expect(he.Got.SHA256).To(HavePrefix("SHA256:"))
		g.Expect(he.Want).To(HaveLen(1))
	})
	for _, form := range []gitserver.KnownHostsForm{gitserver.Plain, gitserver.Hashed, gitserver.CertAuthority, gitserver.Revoked} {
		t.Run("Form", func(t *testing.T) {
			g := NewWithT(t)
			o := e.options(t, true)
			o.SSH.KnownHosts = e.srv.KnownHosts(form)
			c := client(t, repo.SSHURL(), o)
			_, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
			t.Log(form, err)
			if form == gitserver.Revoked {
				g.Expect(errors.Is(err, git.ErrHostKeyRevoked)).To(BeTrue(), "%v", err)
			} else {
				g.Expect(err).NotTo(HaveOccurred())
			}
		})
	}
}
