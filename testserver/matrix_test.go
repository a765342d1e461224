// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package testserver_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/artifactserver"
	"github.com/gitops-kit/sdk/testserver/eventserver"
	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/gitops-kit/sdk/testserver/helmserver"
	"github.com/gitops-kit/sdk/testserver/ociserver"
	"github.com/gitops-kit/sdk/testserver/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is what all servers have in common.
type server interface { //nolint:interfacebloat // all they have in common
	URL() string
	Client() *http.Client
	SetFaults(...fault.Plan)
	Log() []record.Request
	Pause()
	Resume()
	Restart()
	Stop()
}

// subject is a server with a request that it answers.
type subject struct {
	server
	method, path, body string
}

// transport is how a server is reached.
type transport struct {
	name       string
	tls, http2 bool
}

var transports = []transport{{name: "http"}, {name: "https", tls: true}, {name: "h2", tls: true, http2: true}}

// servers starts one of each.
func servers(tb testing.TB, tr transport) map[string]subject {
	tb.Helper()
	git := gitserver.Start(tb, gitserver.Options{TLS: tr.tls, HTTP2: tr.http2})
	git.Repo("app").Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{})
	oci := ociserver.Start(tb, ociserver.Options{TLS: tr.tls, HTTP2: tr.http2})
	oci.Push("app", "v1", ociserver.Artifact{})
	helm := helmserver.Start(tb, helmserver.Options{TLS: tr.tls, HTTP2: tr.http2})
	helm.AddChart(helmserver.Simple("app", "1.0.0"), "")
	art := artifactserver.Start(tb, artifactserver.Options{TLS: tr.tls, HTTP2: tr.http2})
	a := art.Publish("GitRepository", "ns", "app", "main@sha1:abc", artifactserver.Files{"a": "b"})
	ev := eventserver.Start(tb, eventserver.Options{TLS: tr.tls, HTTP2: tr.http2})
	return map[string]subject{
		"git":      {git, "GET", "/app/info/refs?service=git-upload-pack", ""},
		"oci":      {oci, "GET", "/v2/app/manifests/v1", ""},
		"helm":     {helm, "GET", "/index.yaml", ""},
		"artifact": {art, "GET", "/" + a.Path, ""},
		"event":    {ev, "POST", "/nowhere", "nonsense"}, // 400 with a body
	}
}

type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

func (s subject) do(ctx context.Context, t *testing.T) reply {
	t.Helper()
	c := s.Client()
	defer c.CloseIdleConnections()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := http.NewRequestWithContext(ctx, s.method, s.URL()+s.path, strings.NewReader(s.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "identity")
	resp, err := c.Do(r)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, header: resp.Header, body: string(b), err: err}
}

type faultCase struct {
	plan  fault.Plan
	h1    bool // the fault breaks framing, which HTTP/2 answers with a stream reset
	check func(g Gomega, good, got reply)
}

func differsAt(good, got string) int {
	for i := range min(len(good), len(got)) {
		if good[i] != got[i] {
			return i + 1
		}
	}
	return 0
}

var faultCases = map[string]faultCase{
	"Nothing": {plan: fault.Plan{}, check: func(g Gomega, good, got reply) {
		g.Expect(got.err).NotTo(HaveOccurred())
		g.Expect(got.body).To(Equal(good.body))
	}},
	"Delay": {plan: fault.Plan{Delay: time.Nanosecond}, check: func(g Gomega, good, got reply) {
		g.Expect(got.body).To(Equal(good.body))
	}},
	"Throttle": {plan: fault.Plan{Throttle: 1 << 20}, check: func(g Gomega, good, got reply) {
		g.Expect(got.body).To(Equal(good.body))
	}},
	"CutAfter": {plan: fault.Plan{CutAfter: 5}, check: func(g Gomega, good, got reply) {
		g.Expect(got.err).To(HaveOccurred())
		g.Expect(len(got.body)).To(BeNumerically("<=", 5))
	}},
	"CutAfterRST": {plan: fault.Plan{CutAfter: 5, RST: true}, check: func(g Gomega, _, got reply) {
		g.Expect(got.err).To(HaveOccurred())
	}},
	"RST":  {plan: fault.Plan{RST: true}, check: func(g Gomega, _, got reply) { g.Expect(got.err).To(HaveOccurred()) }},
	"Drop": {plan: fault.Plan{Drop: true}, check: func(g Gomega, _, got reply) { g.Expect(got.err).To(HaveOccurred()) }},
	"FlipAt": {plan: fault.Plan{FlipAt: 3}, check: func(g Gomega, good, got reply) {
		g.Expect(got.err).NotTo(HaveOccurred())
		g.Expect(got.body).To(HaveLen(len(good.body)))
		g.Expect(differsAt(good.body, got.body)).To(Equal(3))
		g.Expect(got.body[3:]).To(Equal(good.body[3:]))
	}},
	"Extra": {plan: fault.Plan{Extra: 4}, check: func(g Gomega, good, got reply) {
		g.Expect(got.err).NotTo(HaveOccurred())
		g.Expect(got.body).To(Equal(good.body + "xxxx"))
	}},
	"Status": {plan: fault.Plan{Status: 503, RetryAfter: 1500 * time.Millisecond}, check: func(g Gomega, _, got reply) {
		g.Expect(got.status).To(Equal(503))
		g.Expect(got.header.Get("Retry-After")).To(Equal("2"))
	}},
	"WrongDigest": {plan: fault.Plan{WrongDigest: true}, check: func(g Gomega, good, got reply) {
		g.Expect(got.err).NotTo(HaveOccurred())
		if d := good.header.Get("Docker-Content-Digest"); d != "" {
			g.Expect(got.header.Get("Docker-Content-Digest")).NotTo(Equal(d))
			g.Expect(got.body).To(Equal(good.body))
			return
		}
		g.Expect(differsAt(good.body, got.body)).To(Equal(1))
	}},
	"LengthTooLong": {plan: fault.Plan{WrongLength: 7}, h1: true, check: func(g Gomega, good, got reply) {
		g.Expect(got.err).To(MatchError(io.ErrUnexpectedEOF))
		g.Expect(got.header.Get("Content-Length")).To(Equal(fmt.Sprint(len(good.body) + 7)))
		g.Expect(got.body).To(Equal(good.body))
	}},
	"LengthTooShort": {plan: fault.Plan{WrongLength: -2}, h1: true, check: func(g Gomega, good, got reply) {
		g.Expect(got.body).To(Equal(good.body[:len(good.body)-2]))
	}},
	"Redirect": {plan: fault.Plan{Redirect: "http://127.0.0.1:1{path}"}, check: func(g Gomega, _, got reply) {
		g.Expect(got.status).To(Equal(307))
		g.Expect(got.header.Get("Location")).To(HavePrefix("http://127.0.0.1:1/"))
	}},
	"RedirectStatus": {plan: fault.Plan{Redirect: "/loop", Status: 302}, check: func(g Gomega, _, got reply) {
		g.Expect(got.status).To(Equal(302))
	}},
	"Gzip": {plan: fault.Plan{Encoding: "gzip"}, check: func(g Gomega, good, got reply) {
		g.Expect(got.header.Get("Content-Encoding")).To(Equal("gzip"))
		z, err := gzip.NewReader(strings.NewReader(got.body))
		g.Expect(err).NotTo(HaveOccurred())
		var b bytes.Buffer
		_, err = b.ReadFrom(z)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(b.String()).To(Equal(good.body))
	}},
	"ClaimedEncoding": {plan: fault.Plan{Encoding: "br"}, check: func(g Gomega, good, got reply) {
		g.Expect(got.header.Get("Content-Encoding")).To(Equal("br"))
		g.Expect(got.body).To(Equal(good.body))
	}},
}

// TST-3, TST-5
func TestEachFaultOnEachServer(t *testing.T) {
	for _, tr := range transports {
		for name, s := range servers(t, tr) {
			for label, tc := range faultCases {
				t.Run(tr.name+"/"+name+"/"+label, func(t *testing.T) {
					g := NewWithT(t)
					if tc.h1 && tr.http2 {
						return
					}
					s.SetFaults()
					good := s.do(t.Context(), t)
					g.Expect(good.err).NotTo(HaveOccurred())
					g.Expect(good.body).NotTo(BeEmpty())
					s.SetFaults(tc.plan)
					tc.check(g, good, s.do(t.Context(), t))
					log := s.Log()
					if label != "Nothing" {
						g.Expect(log[len(log)-1].Fault).To(Equal(tc.plan.String()))
					}
				})
			}
		}
	}
}

// TST-5
func TestStallEndsWithTheClient(t *testing.T) {
	for _, tr := range transports {
		for name, s := range servers(t, tr) {
			t.Run(tr.name+"/"+name, func(t *testing.T) {
				g := NewWithT(t)
				s.SetFaults(fault.Plan{Stall: 3})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan reply)
				go func() { done <- s.do(ctx, t) }()
				g.Eventually(s.Log).WithTimeout(time.Minute).Should(HaveLen(1))
				g.Consistently(done, "20ms").ShouldNot(Receive())
				cancel()
				got := <-done
				g.Expect(got.err).To(MatchError(context.Canceled))
				g.Expect(len(got.body)).To(BeNumerically("<=", 2))
				g.Eventually(func() bool { return s.Log()[0].Done }).WithTimeout(time.Minute).Should(BeTrue())
			})
		}
	}
}

// statuses sends n requests and returns their statuses.
func statuses(t *testing.T, s subject, n int) []int {
	t.Helper()
	var out []int
	for range n {
		out = append(out, s.do(t.Context(), t).status)
	}
	return out
}

// TST-5
func TestSelectionIsDeterministic(t *testing.T) {
	g := NewWithT(t)
	s := servers(t, transports[0])["helm"]
	s.SetFaults(fault.Plan{Nth: 2, Status: 500}, fault.Plan{Every: 3, Status: 429})
	g.Expect(statuses(t, s, 6)).To(Equal([]int{200, 500, 429, 200, 200, 429}))

	ratio := fault.Plan{Ratio: 0.5, Seed: 7, Status: 500}
	s.SetFaults(ratio)
	first := statuses(t, s, 40)
	s.SetFaults(ratio)
	g.Expect(statuses(t, s, 40)).To(Equal(first), "same seed, same faults")
	g.Expect(first).To(ContainElement(500))
	g.Expect(first).To(ContainElement(200))
	ratio.Seed = 8
	s.SetFaults(ratio)
	g.Expect(statuses(t, s, 40)).NotTo(Equal(first))

	s.SetFaults(fault.Plan{Times: 2, Status: 500})
	g.Expect(statuses(t, s, 4)).To(Equal([]int{500, 500, 200, 200}))
	s.SetFaults(fault.Plan{Match: fault.Match{Route: "chart"}, Status: 500}, fault.Plan{Match: fault.Match{Path: "*.yaml"}, Status: 404})
	g.Expect(statuses(t, s, 1)).To(Equal([]int{404}), "the first matching plan")
	s.SetFaults()
	g.Expect(statuses(t, s, 1)).To(Equal([]int{200}))
}

// TST-6
func TestOutageKeepsPortAndData(t *testing.T) {
	for name, s := range servers(t, transports[1]) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			good := s.do(t.Context(), t)
			url := s.URL()
			s.Pause()
			g.Expect(s.do(t.Context(), t).err).To(HaveOccurred())
			s.Resume()
			g.Expect(s.do(t.Context(), t).body).To(Equal(good.body))
			s.Restart()
			g.Expect(s.do(t.Context(), t).body).To(Equal(good.body))
			g.Expect(s.URL()).To(Equal(url))
			s.Stop()
			s.Stop()
			g.Expect(s.do(t.Context(), t).err).To(HaveOccurred())
		})
	}
}

// TST-1: a hundred servers in parallel tests do not see each other.
func TestHundredServersConcurrentSafe(t *testing.T) {
	for i := range 100 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s := artifactserver.Start(t, artifactserver.Options{TLS: i%2 == 0})
			a := s.Publish("Bucket", "ns", fmt.Sprint(i), "v1", artifactserver.Files{"n": fmt.Sprint(i)})
			c := s.Client()
			defer c.CloseIdleConnections()
			resp, err := c.Get(a.URL)
			g.Expect(err).NotTo(HaveOccurred())
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(artifactserver.Digest(b)).To(Equal(a.Digest))
			g.Expect(s.Log()).To(HaveLen(1))
		})
	}
}

// TST-1, TST-6: many starts and stops leave nothing; goleak looks at the end.
func TestStartStop(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 50
	}
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range n {
		s, err := eventserver.Run(ctx, eventserver.Options{})
		g.Expect(err).NotTo(HaveOccurred())
		s.Stop()
	}
}

// TST-1: the context ends a server, too.
func TestContextEndsServer(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	s, err := eventserver.Run(ctx, eventserver.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	cancel(errors.New("over"))
	g.Eventually(func() error {
		c := s.Client()
		defer c.CloseIdleConnections()
		resp, err := c.Get(s.URL())
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}).WithTimeout(time.Minute).Should(HaveOccurred())
}
