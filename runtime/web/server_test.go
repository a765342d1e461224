// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/runtime/web"
	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, h http.Handler, l web.Limits) (addr string, stop func() error) {
	t.Helper()
	g := NewWithT(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- web.New(h, web.Options{Limits: l}).Serve(ctx, ln) }()
	return ln.Addr().String(), func() error { cancel(); return <-done }
}

// RT-124, T75: header, body, time and connection limits.
func TestLimits(t *testing.T) {
	g := NewWithT(t)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})
	addr, stop := serve(t, h, web.Limits{Header: 1 << 10, HeaderTime: 100 * time.Millisecond, Body: 10, Conns: 2})
	raw := func(s string) string {
		c, err := net.Dial("tcp", addr)
		g.Expect(err).NotTo(HaveOccurred())
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, s)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		line, _ := bufio.NewReader(c).ReadString('\n')
		return strings.TrimSpace(line)
	}
	g.Expect(raw("GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 1<<14) + "\r\n\r\n")).To(ContainSubstring("431"))
	g.Expect(raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n01234567890")).To(ContainSubstring("413"))
	g.Expect(raw("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n01234567890123456789\r\n0\r\n\r\n")).To(ContainSubstring("413"))
	g.Expect(raw("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789")).To(ContainSubstring("200"))
	g.Expect(raw("GET / HTTP/1.1\r\nHos")).To(Or(BeEmpty(), ContainSubstring("400"), ContainSubstring("408")), "a slow header is cut off")
	g.Expect(stop()).To(Succeed())
}

// RT-124: running requests end before the server does.
func TestGracefulStop(t *testing.T) {
	g := NewWithT(t)
	started, release := make(chan struct{}), make(chan struct{})
	addr, stop := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-release
		_, _ = fmt.Fprint(w, "whole")
	}), web.Limits{})
	body := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + addr)
		if err != nil {
			body <- err.Error()
			return
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		body <- string(b)
	}()
	<-started
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	g.Consistently(stopped, "50ms").ShouldNot(Receive())
	close(release)
	g.Eventually(stopped, "10s").Should(Receive(BeNil()))
	g.Expect(<-body).To(Equal("whole"))
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// RT-124: the command line is shown without arguments.
func TestDebug(t *testing.T) {
	g := NewWithT(t)
	mux := http.NewServeMux()
	web.Debug(mux)
	addr, stop := serve(t, mux, web.Limits{})
	resp, err := http.Get("http://" + addr + "/debug/pprof/cmdline")
	g.Expect(err).NotTo(HaveOccurred())
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	g.Expect(string(b)).To(Equal(os.Args[0]))
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	g.Expect(stop()).To(Succeed())
}
