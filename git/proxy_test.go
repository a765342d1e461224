// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/gitops-kit/sdk/testserver/proxy"
	. "github.com/onsi/gomega"
)

const farHost = "git.example.test"

// proxied is a server that can be reached through a proxy only, by a name that
// nobody else resolves.
type proxied struct {
	*env
	repo *gitserver.Repo
	px   *proxy.Server
}

func startProxied(t *testing.T, o gitserver.Options, po proxy.Options) *proxied {
	t.Helper()
	o.Hosts = []string{farHost}
	o.SSH = &gitserver.SSHOptions{}
	o.Auth.Users = map[string]string{"ann": "pw-canary"}
	p := &proxied{env: start(t, o)}
	p.repo = p.srv.Repo("app")
	p.repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	po.Names = map[string]string{farHost + ":80": p.srv.Addr(), farHost + ":443": p.srv.Addr(), farHost + ":22": p.srv.SSHAddr()}
	p.px = proxy.Start(t, po)
	return p
}

// options are those for a transport; the proxy's authority is trusted, too.
func (p *proxied) client(t *testing.T, transport string, px *url.URL) *git.Client {
	t.Helper()
	o := p.options(t, transport == "ssh")
	if transport == "ssh" {
		o.SSH.KnownHosts = p.srv.KnownHosts(gitserver.Plain, farHost)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.srv.CA())
	pool.AppendCertsFromPEM(p.px.CA())
	o.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	o.Net.Proxy = px
	o.Net.HTTPCredentials = git.Always
	o.HTTP.Attempts = 1
	if transport != "ssh" {
		o.Credentials = git.Static(git.Credential{Username: "ann", Password: git.NewSecret("pw-canary")})
	}
	return client(t, transport+"://"+farHost+"/app", o)
}

func (p *proxied) url(t *testing.T, user *url.Userinfo) *url.URL {
	t.Helper()
	u, err := url.Parse(p.px.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = user
	return u
}

// GIT-10, GIT-T7, T45: proxies of each kind, with and without authentication,
// for http, https and ssh. The proxy resolves the name of a configured host.
func TestProxies(t *testing.T) {
	for kind, po := range map[string]proxy.Options{"http": {Kind: proxy.HTTP}, "https": {Kind: proxy.HTTP, TLS: true}, "socks5": {Kind: proxy.SOCKS5}} {
		for _, auth := range []bool{false, true} {
			for _, transport := range []string{"http", "https", "ssh"} {
				t.Run(fmt.Sprintf("%s/auth=%t/%s", kind, auth, transport), func(t *testing.T) {
					g := NewWithT(t)
					po := po
					var user *url.Userinfo
					if auth {
						po.Users = map[string]string{"px": "px-canary"}
						user = url.UserPassword("px", "px-canary")
					}
					p := startProxied(t, gitserver.Options{TLS: transport == "https"}, po)
					c := p.client(t, transport, p.url(t, user))
					r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
					g.Expect(err).NotTo(HaveOccurred())
					_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(p.px.Log()).NotTo(BeEmpty())
					for _, e := range p.px.Log() {
						if strings.Contains(e.Path, ":") {
							g.Expect(e.Path).To(HavePrefix(farHost+":"), "the name goes to the proxy")
						}
					}
					for _, e := range p.srv.Log() {
						g.Expect(e.Header).NotTo(HaveKey("Proxy-Authorization"), "what is the proxy's does not reach the server")
					}
					if !auth {
						return
					}
					before := len(p.srv.Log())
					for _, bad := range []*url.Userinfo{nil, url.UserPassword("px", "wrong-canary")} {
						_, err := p.client(t, transport, p.url(t, bad)).Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
						var ge *git.Error
						g.Expect(errors.As(err, &ge)).To(BeTrue(), "%v", err)
						g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
					}
					g.Expect(p.srv.Log()).To(HaveLen(before), "nothing reached the server")
				})
			}
		}
	}
}

// GIT-10, NET-6: the environment counts only where asked for, and an explicit
// proxy wins.
func TestProxyFromEnvironment(t *testing.T) {
	p := startProxied(t, gitserver.Options{TLS: true}, proxy.Options{})
	other := proxy.Start(t, proxy.Options{})
	for _, k := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"} {
		t.Setenv(k, "")
	}
	for name, tc := range map[string]struct {
		transport string
		vars      map[string]string
		explicit  bool
		ignore    bool
		direct    bool
	}{
		"Upper":      {transport: "https", vars: map[string]string{"HTTPS_PROXY": p.px.URL()}},
		"Lower":      {transport: "https", vars: map[string]string{"https_proxy": p.px.URL()}},
		"All":        {transport: "https", vars: map[string]string{"ALL_PROXY": p.px.URL()}},
		"SSH":        {transport: "ssh", vars: map[string]string{"all_proxy": p.px.URL()}},
		"SSHNotHTTP": {transport: "ssh", vars: map[string]string{"HTTPS_PROXY": p.px.URL()}, direct: true},
		"NoProxy":    {transport: "https", vars: map[string]string{"HTTPS_PROXY": p.px.URL(), "NO_PROXY": farHost}, direct: true},
		"Explicit":   {transport: "https", vars: map[string]string{"HTTPS_PROXY": other.URL()}, explicit: true},
		"Ignored":    {transport: "https", vars: map[string]string{"HTTPS_PROXY": p.px.URL()}, ignore: true, direct: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for k, v := range tc.vars {
				g.Expect(os.Setenv(k, v)).To(Succeed()) //nolint:usetesting // t.Setenv above restores it
			}
			defer func() {
				for k := range tc.vars {
					_ = os.Unsetenv(k)
				}
			}()
			o := p.options(t, tc.transport == "ssh")
			if tc.transport == "ssh" {
				o.SSH.KnownHosts = p.srv.KnownHosts(gitserver.Plain, farHost)
			} else {
				o.Credentials = git.Static(git.Credential{Username: "ann", Password: git.NewSecret("pw-canary")})
			}
			o.HTTP.Attempts = 1
			o.Net.ProxyFromEnvironment = !tc.ignore
			if tc.explicit {
				o.Net.Proxy = p.url(t, nil)
			}
			before := len(p.px.Log())
			_, err := client(t, tc.transport+"://"+farHost+"/app", o).Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
			if tc.direct {
				g.Expect(err).To(HaveOccurred(), "nobody but the proxy knows the name")
				g.Expect(p.px.Log()).To(HaveLen(before))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(len(p.px.Log())).To(BeNumerically(">", before))
		})
	}
	NewWithT(t).Expect(other.Log()).To(BeEmpty())
}

// NET-6, GIT-8: a proxy does not lead to addresses that a server supplied.
func TestProxySuppliedAddresses(t *testing.T) {
	g := NewWithT(t)
	p := startProxied(t, gitserver.Options{}, proxy.Options{})
	c := p.client(t, "http", p.url(t, nil))
	lib := p.srv.Repo("lib")
	id := lib.Commit("main", gitserver.Files{"l": "1"}, gitserver.CommitOptions{})
	for i, bad := range []string{"http://169.254.169.254/x", "http://10.0.0.1/x", "http://[::1]/x", "http://127.0.0.1:1/x", "ssh://git@10.0.0.1/x"} {
		branch := fmt.Sprint("bad", i)
		p.repo.Commit(branch, gitserver.Files{".gitmodules": "[submodule \"l\"]\n\tpath = l\n\turl = " + bad + "\n"},
			gitserver.CommitOptions{Nodes: map[string]gitserver.Node{"l": {Mode: "160000", ID: id}}})
		r, err := c.Resolve(t.Context(), git.Reference{Branch: branch}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{Submodules: true})
		if strings.HasPrefix(bad, "ssh") {
			g.Expect(errors.Is(err, git.ErrHostKeyUnknown)).To(BeTrue(), "%s: %v", bad, err)
		} else {
			g.Expect(errors.Is(err, git.ErrAddressBlocked)).To(BeTrue(), "%s: %v", bad, err)
		}
	}
	for _, e := range p.px.Log() {
		g.Expect(e.Path).NotTo(Or(ContainSubstring("169.254"), ContainSubstring("10.0.0.1"), ContainSubstring("127.0.0.1:1"), ContainSubstring("::1")))
	}
}

// GIT-10: proxies that cannot be are refused before anything is dialled.
func TestProxyRefused(t *testing.T) {
	g := NewWithT(t)
	for _, bad := range []string{"ftp://127.0.0.1:1", "socks4://127.0.0.1", "http://", "//x"} {
		u, err := url.Parse(bad)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = git.New("https://example.com/x", git.Options{Net: git.NetPolicy{Proxy: u}})
		g.Expect(errors.Is(err, git.ErrInvalidOption)).To(BeTrue(), "%s: %v", bad, err)
	}
}
