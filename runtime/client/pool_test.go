// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/runtime/client"
	"github.com/gitops-kit/sdk/runtime/kubeconfig"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// server is a fake API server that knows a few groups.
type server struct {
	*httptest.Server
	mu        sync.Mutex
	discovery atomic.Int32
	requests  atomic.Int32
	posts     atomic.Int32
	headers   []http.Header
	conns     map[string]map[string]bool // connection → tokens seen on it
	widgets   atomic.Bool                // the CRD is installed
	fair      bool
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{conns: map[string]map[string]bool{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	if r.Method == http.MethodPost {
		s.posts.Add(1)
	}
	s.mu.Lock()
	s.headers = append(s.headers, r.Header.Clone())
	if s.conns[r.RemoteAddr] == nil {
		s.conns[r.RemoteAddr] = map[string]bool{}
	}
	s.conns[r.RemoteAddr][r.Header.Get("Authorization")] = true
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if s.fair {
		w.Header().Set("X-Kubernetes-Pf-Flowschema-Uid", "x")
	}
	switch {
	case r.URL.Path == "/livez/ping":
	case r.URL.Path == "/api":
		s.discovery.Add(1)
		fmt.Fprint(w, `{"kind":"APIVersions","versions":["v1"]}`)
	case r.URL.Path == "/api/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"configmaps","singularName":"configmap","namespaced":true,"kind":"ConfigMap","verbs":["get","list"]}]}`)
	case r.URL.Path == "/apis":
		groups := []string{`{"name":"broken.example.com","versions":[{"groupVersion":"broken.example.com/v1","version":"v1"}],"preferredVersion":{"groupVersion":"broken.example.com/v1","version":"v1"}}`}
		groups = append(groups, `{"name":"authentication.k8s.io","versions":[{"groupVersion":"authentication.k8s.io/v1","version":"v1"}],"preferredVersion":{"groupVersion":"authentication.k8s.io/v1","version":"v1"}}`)
		if s.widgets.Load() {
			groups = append(groups, `{"name":"example.com","versions":[{"groupVersion":"example.com/v1","version":"v1"}],"preferredVersion":{"groupVersion":"example.com/v1","version":"v1"}}`)
		}
		fmt.Fprintf(w, `{"kind":"APIGroupList","groups":[%s]}`, strings.Join(groups, ","))
	case r.URL.Path == "/apis/authentication.k8s.io/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"authentication.k8s.io/v1","resources":[{"name":"selfsubjectreviews","singularName":"selfsubjectreview","namespaced":false,"kind":"SelfSubjectReview","verbs":["create"]}]}`)
	case r.URL.Path == "/apis/example.com/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"example.com/v1","resources":[{"name":"widgets","singularName":"widget","namespaced":true,"kind":"Widget","verbs":["get"]}]}`)
	default:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (s *server) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func (s *server) config(token string) *rest.Config {
	return &rest.Config{Host: s.URL, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: s.ca()}}
}

func (s *server) kubeconfig(t testing.TB, token string) *kubeconfig.Config {
	t.Helper()
	c, err := kubeconfig.Parse(fmt.Appendf(nil, `{"current-context":"c","contexts":[{"name":"c","context":{"cluster":"k","user":"u"}}],"clusters":[{"name":"k","cluster":{"server":"%s","certificate-authority-data":"%s"}}],"users":[{"name":"u","user":{"token":"%s"}}]}`,
		s.URL, b64(s.ca()), token), kubeconfig.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newPool(t testing.TB, o client.Options) *client.Pool {
	t.Helper()
	p, err := client.NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func account(ns, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: ns, Name: name}
}

// D5, RT-81, RT-82: 1,000 objects over 20 accounts and 10 servers cost one
// discovery per server; a warm client costs no request.
func TestPoolShares(t *testing.T) {
	g := NewWithT(t)
	local := newServer(t)
	servers := make([]*server, 10)
	configs := make([]*kubeconfig.Config, len(servers))
	for i := range servers {
		servers[i] = newServer(t)
		configs[i] = servers[i].kubeconfig(t, "token")
	}
	var hits atomic.Int32
	p := newPool(t, client.Options{Config: local.config("local"), OnHit: func() { hits.Add(1) }})
	cm := schema.GroupKind{Kind: "ConfigMap"}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < 1000; i += 8 {
				c, err := p.Get(t.Context(), client.Target{ServiceAccount: account("ns", fmt.Sprintf("sa%d", i%20)), Kubeconfig: configs[i%len(configs)]})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := c.Mapper.RESTMapping(cm, "v1"); err != nil {
					t.Error(err)
				}
				c.Release()
			}
		})
	}
	wg.Wait()
	for _, s := range servers {
		g.Expect(s.discovery.Load()).To(Equal(int32(1)))
	}
	g.Expect(p.Len()).To(Equal(20))
	before := servers[0].requests.Load()
	c, err := p.Get(t.Context(), client.Target{ServiceAccount: account("ns", "sa0"), Kubeconfig: configs[0]})
	g.Expect(err).NotTo(HaveOccurred())
	defer c.Release()
	_, err = c.Mapper.RESTMapping(cm, "v1")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(servers[0].requests.Load()).To(Equal(before))
	g.Expect(hits.Load()).To(BeNumerically(">=", 980))
}

// RT-84, T62: exact headers; names that are no DNS names are refused before any
// request.
func TestImpersonationHeaders(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	p := newPool(t, client.Options{Config: s.config("local"), UserAgent: "app-controller/v1"})
	c, err := p.Get(t.Context(), client.Target{ServiceAccount: account("apps", "deployer")})
	g.Expect(err).NotTo(HaveOccurred())
	defer c.Release()
	_ = c.Exists(t.Context())
	h := s.headers[len(s.headers)-1]
	g.Expect(h["Impersonate-User"]).To(Equal([]string{"system:serviceaccount:apps:deployer"}))
	g.Expect(h["Impersonate-Group"]).To(Equal([]string{"system:serviceaccounts", "system:serviceaccounts:apps", "system:authenticated"}))
	g.Expect(h.Get("User-Agent")).To(Equal("app-controller/v1"))
	before := s.requests.Load()
	for _, a := range []types.NamespacedName{account("apps", ""), account("", "x"), account("apps", "a:b"), account("a/b", "x"), account("apps", "../x"), account("apps", "A"), account("apps", strings.Repeat("a", 300))} {
		_, err := p.Get(t.Context(), client.Target{ServiceAccount: a})
		var te *client.TargetError
		g.Expect(errors.As(err, &te)).To(BeTrue(), a.String())
		g.Expect(te.Terminal()).To(BeTrue())
	}
	g.Expect(s.requests.Load()).To(Equal(before), "nothing was sent")
	_, err = p.Get(t.Context(), client.Target{Provider: func(context.Context) (*rest.Config, time.Time, error) { return nil, time.Time{}, nil }})
	g.Expect(errors.As(err, new(*client.TargetError))).To(BeTrue(), "a provider needs a key")
}

// RT-80, NET-7, R6: two credentials never share a connection; impersonations of
// one do.
func TestConnectionsAreNotShared(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	p := newPool(t, client.Options{Config: s.config("local")})
	for i := range 20 {
		for _, token := range []string{"one", "two"} {
			c, err := p.Get(t.Context(), client.Target{Kubeconfig: s.kubeconfig(t, token), ServiceAccount: account("ns", fmt.Sprint("sa", i%3))})
			g.Expect(err).NotTo(HaveOccurred())
			_ = c.Exists(t.Context())
			c.Release()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, tokens := range s.conns {
		g.Expect(tokens).To(HaveLen(1), conn)
	}
	g.Expect(len(s.conns)).To(BeNumerically("<=", 4))
}

// RT-81: a new kind is found by one refresh per second and group; a group whose
// discovery fails is unavailable, not absent.
func TestSchemaChange(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	now := time.Now()
	var mu sync.Mutex
	p := newPool(t, client.Options{Config: s.config("local"), Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	c, err := p.Get(t.Context(), client.Target{})
	g.Expect(err).NotTo(HaveOccurred())
	defer c.Release()
	widget := schema.GroupKind{Group: "example.com", Kind: "Widget"}
	for range 10 {
		_, err = c.Mapper.RESTMapping(widget, "v1")
		g.Expect(meta.IsNoMatchError(err)).To(BeTrue())
	}
	g.Expect(s.discovery.Load()).To(BeNumerically("<=", 2), "negative answers live a second")
	s.widgets.Store(true)
	mu.Lock()
	now = now.Add(time.Second)
	mu.Unlock()
	_, err = c.Mapper.RESTMapping(widget, "v1")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = c.Mapper.RESTMapping(schema.GroupKind{Group: "broken.example.com", Kind: "X"}, "v1")
	var ge *client.GroupUnavailableError
	g.Expect(errors.As(err, &ge)).To(BeTrue(), "%v", err)
	g.Expect(ge.Terminal()).To(BeFalse())
	g.Expect(meta.IsNoMatchError(err)).To(BeFalse())
}

// RT-83: a login is renewed at 80 % of its life.
func TestProviderRotation(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	now := time.Now()
	logins := 0
	p := newPool(t, client.Options{Config: s.config("local"), Now: func() time.Time { return now }})
	target := client.Target{ProviderKey: "k", Provider: func(context.Context) (*rest.Config, time.Time, error) {
		logins++
		return s.config(fmt.Sprint("login", logins)), now.Add(100 * time.Minute), nil
	}}
	token := func() string {
		c, err := p.Get(t.Context(), target)
		g.Expect(err).NotTo(HaveOccurred())
		defer c.Release()
		return c.Config.BearerToken
	}
	g.Expect(token()).To(Equal("login1"))
	now = now.Add(79 * time.Minute)
	g.Expect(token()).To(Equal("login1"))
	now = now.Add(2 * time.Minute)
	g.Expect(token()).To(Equal("login2"))
	g.Expect(p.Len()).To(Equal(1), "the old one is gone")
}

// RT-82: eviction closes connections and shared values; nothing leaks.
func TestEviction(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	now := time.Now()
	p := newPool(t, client.Options{Config: s.config("local"), Size: 5, Idle: time.Minute, Now: func() time.Time { return now }})
	base := runtime.NumGoroutine()
	closed := 0
	for i := range 50 {
		ctx, scope := client.WithScope(t.Context())
		c, err := p.Get(ctx, client.Target{Kubeconfig: s.kubeconfig(t, fmt.Sprint("t", i))})
		g.Expect(err).NotTo(HaveOccurred())
		for range 2 {
			v, err := client.Shared(c, func(*client.Client) (*closer, error) { return &closer{n: &closed}, nil })
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(v.n).To(Equal(&closed))
		}
		scope.Release()
		c.Release() // twice is once
	}
	g.Expect(p.Len()).To(Equal(5))
	g.Expect(closed).To(Equal(45))
	now = now.Add(time.Minute)
	p.Sweep()
	g.Expect(p.Len()).To(BeZero())
	g.Expect(closed).To(Equal(50))
	g.Eventually(func() int { return runtime.NumGoroutine() - base }, "10s").Should(BeNumerically("<=", 2))
}

type closer struct{ n *int }

func (c *closer) Close() error { *c.n++; return nil }

// RT-87: an unreachable server is a transient error with a scope.
func TestUnreachable(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	kc := s.kubeconfig(t, "canary")
	s.Close()
	p := newPool(t, client.Options{Config: &rest.Config{Host: "https://127.0.0.1:1"}})
	_, err := p.Get(t.Context(), client.Target{Kubeconfig: kc})
	var ue *client.UnreachableError
	g.Expect(errors.As(err, &ue)).To(BeTrue())
	g.Expect(ue.Scope()).To(Equal(s.URL))
	g.Expect(ue.Terminal()).To(BeFalse())
	g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
	g.Expect(p.Len()).To(BeZero())
	_, err = client.NewPool(client.Options{})
	g.Expect(errors.As(err, new(*client.TargetError))).To(BeTrue())
}

// I6, RT-142: a fence refuses mutating requests only.
func TestFence(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	lost := false
	p := newPool(t, client.Options{Config: s.config("local"), Fence: func() error {
		if lost {
			return &client.FencedError{}
		}
		return nil
	}})
	c, err := p.Get(t.Context(), client.Target{})
	g.Expect(err).NotTo(HaveOccurred())
	defer c.Release()
	lost = true
	err = c.Exists(t.Context())
	g.Expect(errors.As(err, new(*client.FencedError))).To(BeTrue())
	g.Expect(s.posts.Load()).To(BeZero())
	_, err = c.Mapper.RESTMapping(schema.GroupKind{Kind: "ConfigMap"}, "v1")
	g.Expect(err).NotTo(HaveOccurred(), "reading goes on")
}

// RT-86: no client-side limit when the server does priority and fairness.
func TestFairness(t *testing.T) {
	g := NewWithT(t)
	for _, fair := range []bool{false, true} {
		s := newServer(t)
		s.fair = fair
		p := newPool(t, client.Options{Config: s.config("x"), QPS: 50, Burst: 300})
		c, err := p.Get(t.Context(), client.Target{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(c.Config.QPS < 0).To(Equal(fair))
		c.Release()
	}
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
