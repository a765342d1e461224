// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact/fetch"
)

// connections counts those that a server has open, and all it ever had.
type connections struct{ open, all atomic.Int64 }

func (c *connections) watch(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		c.all.Add(1)
		c.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		c.open.Add(-1)
	}
}

// counted serves do and counts its connections.
func counted(t testing.TB, c *connections, do http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(do)
	s.Config.ConnState = c.watch
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// NET-1, NET-2, T24: a redirect to an address that was supplied is refused
// also when a connection to it is open since another reference named it.
func TestRedirectsHaveConnectionsOfTheirOwn(t *testing.T) {
	data, sum := archive(t, 5, 1)
	for name, warm := range map[string]bool{"Cold": false, "Warm": true} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var secret atomic.Int64
			var c connections
			inner := counted(t, &c, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/secret" {
					secret.Add(1)
				}
				content(data, sum)(1, w, r)
			})
			evil := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, inner.URL+"/secret", http.StatusFound)
			})
			f := fetcher(t, fetch.Options{})
			if warm {
				for range 3 {
					_, err := f.Dir(t.Context(), fetch.Ref{URL: inner.URL, Digest: sum}, filepath.Join(t.TempDir(), "dst"))
					g.Expect(err).NotTo(HaveOccurred())
				}
				g.Expect(c.all.Load()).To(BeEquivalentTo(1), "references to the same host share a connection")
			}
			parent := t.TempDir()
			_, err := f.Dir(t.Context(), fetch.Ref{URL: evil.URL, Digest: sum}, filepath.Join(parent, "dst"))
			g.Expect(errors.Is(err, fetch.ErrAddressBlocked)).To(BeTrue(), "%v", err)
			g.Expect(secret.Load()).To(BeZero())
			g.Expect(evil.requests()).To(HaveLen(1), "it is not tried again")
			nothing(t, parent)
		})
	}
}

// NET-2: connections are kept for the hosts used last, not for all there were.
func TestFewHostsAreRemembered(t *testing.T) {
	g := NewWithT(t)
	data, sum := archive(t, 1, 2)
	var c connections
	f := fetcher(t, fetch.Options{})
	for range 20 {
		s := counted(t, &c, func(w http.ResponseWriter, r *http.Request) { content(data, sum)(1, w, r) })
		_, err := f.Dir(t.Context(), fetch.Ref{URL: s.URL, Digest: sum}, filepath.Join(t.TempDir(), "dst"))
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(c.all.Load()).To(BeEquivalentTo(20))
	g.Eventually(c.open.Load).WithTimeout(time.Minute).Should(BeNumerically("<=", 16))
	g.Expect(f.Close()).To(Succeed())
	g.Eventually(c.open.Load).WithTimeout(time.Minute).Should(BeZero())
}

// NET-6: a proxy is configured, wherever it is; what it is asked for is judged
// as far as it can be judged here.
func TestProxy(t *testing.T) {
	g := NewWithT(t)
	data, sum := archive(t, 2, 3)
	var asked atomic.Int64
	proxy := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.String() {
		case "http://storage.invalid/a":
			content(data, sum)(1, w, r)
		case "http://storage.invalid/out":
			http.Redirect(w, r, "http://127.0.0.1:1/secret", http.StatusFound)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	})
	u, err := url.Parse(proxy.URL)
	g.Expect(err).NotTo(HaveOccurred())
	f := fetcher(t, fetch.Options{Net: fetch.NetPolicy{Proxy: u, DenyCIDR: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}})
	_, err = f.Dir(t.Context(), fetch.Ref{URL: "http://storage.invalid/a", Digest: sum}, filepath.Join(t.TempDir(), "dst"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(asked.Load()).To(BeEquivalentTo(1))
	for _, bad := range []string{"http://storage.invalid/out", "http://192.0.2.1/x"} {
		parent := t.TempDir()
		_, err = f.Dir(t.Context(), fetch.Ref{URL: bad, Digest: sum}, filepath.Join(parent, "dst"))
		g.Expect(errors.Is(err, fetch.ErrAddressBlocked)).To(BeTrue(), "%s: %v", bad, err)
		nothing(t, parent)
	}
	g.Expect(asked.Load()).To(BeEquivalentTo(2), "the redirect; its target and a denied one were not asked for")
}
