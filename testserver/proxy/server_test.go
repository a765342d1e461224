// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/proxy"
	"github.com/gitops-kit/sdk/testserver/serve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func hello(t *testing.T, tls bool) *serve.Server {
	t.Helper()
	return serve.Start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }), serve.Options{TLS: tls, Hosts: []string{"far.example"}})
}

func through(t *testing.T, p *proxy.Server, user *url.Userinfo, origin *serve.Server, target string) (string, error) {
	t.Helper()
	u, err := url.Parse(p.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = user
	c := origin.Client()
	tr := c.Transport.(*http.Transport)
	tr.Proxy = http.ProxyURL(u)
	if p.CA() != nil { // one pool for both: the proxy is trusted, too
		if tr.TLSClientConfig == nil {
			tr.TLSClientConfig = p.Client().Transport.(*http.Transport).TLSClientConfig
		} else {
			tr.TLSClientConfig.RootCAs.AppendCertsFromPEM(p.CA())
		}
	}
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return fmt.Sprint(resp.StatusCode, " ", string(b)), err
}

// TST-23
func TestProxies(t *testing.T) {
	for name, o := range map[string]proxy.Options{"http": {}, "https": {TLS: true}, "socks5": {Kind: proxy.SOCKS5}} {
		for _, tls := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tls=%v", name, tls), func(t *testing.T) {
				g := NewWithT(t)
				origin := hello(t, tls)
				scheme := map[bool]string{false: "http", true: "https"}[tls]
				o.Users = map[string]string{"ann": "canary-pw"}
				o.Names = map[string]string{"far.example": origin.Addr()}
				p := proxy.Start(t, o)
				ann := url.UserPassword("ann", "canary-pw")
				got, err := through(t, p, ann, origin, scheme+"://far.example:1234/x")
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(got).To(Equal("200 hello"))
				log := p.Log()
				last := log[len(log)-1]
				g.Expect(last.Path).To(Equal("far.example:1234"), "the proxy resolves the name")
				g.Expect(last.User).To(Equal("ann"))
				g.Expect(fmt.Sprint(log)).NotTo(ContainSubstring("canary"))

				before := origin.Recorder().Total()
				got, err = through(t, p, url.UserPassword("ann", "no"), origin, scheme+"://far.example:1234/x")
				if err == nil {
					g.Expect(got).To(HavePrefix("407"))
				}
				g.Expect(origin.Recorder().Total()).To(Equal(before), "nothing got through")
				p.Pause()
				_, err = through(t, p, ann, origin, scheme+"://far.example:1234/x")
				g.Expect(err).To(HaveOccurred())
				p.Resume()
			})
		}
	}
}

// TST-5, TST-23
func TestProxyFaults(t *testing.T) {
	for _, kind := range []proxy.Kind{proxy.HTTP, proxy.SOCKS5} {
		g := NewWithT(t)
		origin := hello(t, true)
		p := proxy.Start(t, proxy.Options{Kind: kind, Refuse: func(hp string) bool { return hp == "192.0.2.1:443" }})
		_, err := through(t, p, nil, origin, origin.URL())
		g.Expect(err).NotTo(HaveOccurred())
		_, err = through(t, p, nil, origin, "https://192.0.2.1/")
		g.Expect(err).To(HaveOccurred())
		p.SetFaults(fault.Plan{CutAfter: 50})
		_, err = through(t, p, nil, origin, origin.URL())
		g.Expect(err).To(HaveOccurred())
		p.SetFaults(fault.Plan{RST: true})
		_, err = through(t, p, nil, origin, origin.URL())
		g.Expect(err).To(HaveOccurred())
	}
}

func ExampleRun() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	origin, err := serve.Run(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "origin") }), serve.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer origin.Stop()
	p, err := proxy.Run(ctx, proxy.Options{Names: map[string]string{"git.example": origin.Addr()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Stop()
	u, _ := url.Parse(p.URL())
	c := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(u)}}
	defer c.CloseIdleConnections()
	resp, err := c.Get("http://git.example/")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	fmt.Println(string(b), p.Log()[0].Path)
	// Output: origin git.example
}
