// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/record"
	"github.com/gitops-kit/sdk/testserver/serve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func echo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve.SetUser(r.Context(), r.Header.Get("User"))
		_, _ = io.Copy(w, r.Body)
	})
}

// TST-2
func TestLoopbackOnly(t *testing.T) {
	g := NewWithT(t)
	s := serve.Start(t, echo(), serve.Options{})
	host, _, err := net.SplitHostPort(s.Addr())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(host).To(Equal("127.0.0.1"))
	s6, err := serve.Run(t.Context(), echo(), serve.Options{IPv6: true})
	if err != nil {
		g.Expect(err.Error()).To(ContainSubstring("listen"), "a machine without IPv6")
		return
	}
	defer s6.Stop()
	g.Expect(s6.Addr()).To(HavePrefix("[::1]:"))
}

// TST-3
func TestTLS(t *testing.T) {
	g := NewWithT(t)
	plain := serve.Start(t, echo(), serve.Options{})
	_, err := plain.ClientCert("x")
	g.Expect(err).To(MatchError(serve.ErrNoTLS))
	g.Expect(plain.CA()).To(BeNil())
	g.Expect(plain.Pool()).To(BeNil())

	s := serve.Start(t, echo(), serve.Options{RequireClientCert: true, HTTP2: true, Hosts: []string{"git.example"}})
	g.Expect(s.URL()).To(HavePrefix("https://"))
	c := s.Client()
	defer c.CloseIdleConnections()
	resp, err := c.Get(s.URL())
	g.Expect(err).NotTo(HaveOccurred())
	_ = resp.Body.Close()
	g.Expect(resp.ProtoMajor).To(Equal(2))
	cert := resp.TLS.PeerCertificates[0]
	g.Expect(cert.DNSNames).To(ContainElements("localhost", "git.example"))
	g.Expect(time.Until(cert.NotAfter)).To(BeNumerically("<=", time.Hour))
	g.Expect(s.Log()[0].User).To(Equal("client"))

	conn, err := tls.Dial("tcp", s.Addr(), &tls.Config{RootCAs: s.Pool(), ServerName: "git.example", MinVersion: tls.VersionTLS13})
	if err == nil { // in TLS 1.3 the refusal comes with the first read
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	g.Expect(err).To(HaveOccurred(), "no client certificate")
}

// TST-4
func TestLog(t *testing.T) {
	g := NewWithT(t)
	s := serve.Start(t, echo(), serve.Options{Route: func(r *http.Request) string { return "echo" + r.Method }})
	c := s.Client()
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/p?token=canary&x=1", strings.NewReader("12345"))
	g.Expect(err).NotTo(HaveOccurred())
	r.Header.Set("Authorization", "Bearer canary")
	r.Header.Set("Private-Token", "canary")
	r.Header.Set("User", "ann")
	resp, err := c.Do(r)
	g.Expect(err).NotTo(HaveOccurred())
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	g.Expect(s.Wait(t.Context(), record.Match{Route: "echoPOST", Status: 200}, 1)).To(Succeed())
	g.Eventually(func() bool { return s.Log()[0].Done }).WithTimeout(time.Minute).Should(BeTrue())
	q := s.Log()[0]
	g.Expect(q.Seq).To(BeEquivalentTo(1))
	g.Expect(q.Conn).To(BeEquivalentTo(1))
	g.Expect(q.Method + q.Path + q.User).To(Equal("POST/pann"))
	g.Expect(q.BodySize).To(BeEquivalentTo(5))
	g.Expect(q.Bytes).To(BeEquivalentTo(5))
	g.Expect(q.Header.Get("Authorization")).To(Equal(s.Recorder().HMAC("Bearer canary")))
	g.Expect(q.Header.Get("Private-Token")).To(Equal(s.Recorder().HMAC("canary")))
	g.Expect(q.Query.Get("token")).To(Equal(s.Recorder().HMAC("canary")))
	g.Expect(q.Query.Get("x")).To(Equal("1"))
	g.Expect(s.Tail()).NotTo(ContainSubstring("canary"))

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	err = s.Wait(ctx, record.Match{}, 5)
	g.Expect(err).To(MatchError(ContainSubstring("saw 1")))
}

// TST-6
func TestBlackhole(t *testing.T) {
	g := NewWithT(t)
	s := serve.Start(t, echo(), serve.Options{})
	c := s.Client()
	defer c.CloseIdleConnections()
	get := func(d time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL(), nil)
		g.Expect(err).NotTo(HaveOccurred())
		resp, err := c.Do(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	g.Expect(get(time.Minute)).To(Succeed())
	s.Blackhole()
	g.Expect(get(50 * time.Millisecond)).To(MatchError(context.DeadlineExceeded))
	s.Resume()
	g.Expect(get(time.Minute)).To(Succeed())
	g.Expect(s.Connections()).To(BeNumerically(">=", 1))
}

// TST-6: a stalled request does not keep the server from stopping.
func TestStopDuringStall(t *testing.T) {
	g := NewWithT(t)
	s := serve.Start(t, echo(), serve.Options{Faults: []fault.Plan{{Stall: 1}}})
	c := s.Client()
	defer c.CloseIdleConnections()
	done := make(chan error)
	go func() {
		resp, err := c.Post(s.URL(), "text/plain", strings.NewReader("hello"))
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		done <- err
	}()
	g.Expect(s.Wait(t.Context(), record.Match{}, 1)).To(Succeed())
	s.Stop()
	g.Expect(<-done).To(HaveOccurred())
}
