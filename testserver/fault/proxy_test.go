// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fault_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/serve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func echo(t *testing.T) *serve.Server {
	t.Helper()
	return serve.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello from "+r.URL.Path+"\n")
	}), serve.Options{})
}

func fetch(t *testing.T, url string) (int, string, error) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func TestProxyHTTP(t *testing.T) {
	g := NewWithT(t)
	up := echo(t)
	p := fault.StartProxy(t, up.URL(), fault.Plan{Match: fault.Match{Path: "/fail*"}, Nth: 2, Status: 503})
	for i, want := range []int{200, 503, 200} {
		status, body, err := fetch(t, p.URL()+"/fail/x")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(status).To(Equal(want), "request %d", i)
		if want == 200 {
			g.Expect(body).To(Equal("hello from /fail/x\n"))
		}
	}
	g.Expect(up.Recorder().Total()).To(BeEquivalentTo(2))
	g.Expect(p.Count(fault.Match{Status: 503})).To(Equal(1))

	// The request is handled, its reply lost.
	p.SetFaults(fault.Plan{Drop: true})
	_, _, err := fetch(t, p.URL()+"/apply")
	g.Expect(err).To(HaveOccurred())
	g.Expect(up.Count(fault.Match{Path: "/apply"})).To(BeNumerically(">=", 1))

	p.SetFaults()
	other := echo(t)
	p.SetUpstream(other.URL())
	_, _, err = fetch(t, p.URL()+"/moved")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(other.Count(fault.Match{Path: "/moved"})).To(Equal(1))
}

func TestProxyOutage(t *testing.T) {
	g := NewWithT(t)
	p := fault.StartProxy(t, echo(t).URL())
	p.Pause()
	_, _, err := fetch(t, p.URL())
	g.Expect(err).To(HaveOccurred())
	p.Resume()
	_, _, err = fetch(t, p.URL())
	g.Expect(err).NotTo(HaveOccurred())

	p.Blackhole()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(r)
	if err == nil {
		_ = resp.Body.Close()
	}
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	p.Resume()
	_, _, err = fetch(t, p.URL())
	g.Expect(err).NotTo(HaveOccurred())
}

// lines serves "line 1\nline 2\n…" to each connection, one for each it reads.
func lines(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewScanner(c)
				for i := 1; in.Scan(); i++ {
					fmt.Fprintf(c, "line %d\n", i)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestProxyTCP(t *testing.T) {
	cases := map[string]struct {
		reason string
		plan   fault.Plan
		want   string
		eof    bool
	}{
		"None":  {reason: "bytes pass", want: "line 1\nline 2\n", eof: true},
		"Cut":   {reason: "ends after 9 bytes", plan: fault.Plan{CutAfter: 9}, want: "line 1\nli", eof: true},
		"Flip":  {reason: "one byte is wrong", plan: fault.Plan{FlipAt: 6}, want: "line \xce\nline 2\n", eof: true},
		"Reset": {reason: "reset after 9 bytes", plan: fault.Plan{CutAfter: 9, RST: true}, want: ""},
		"Drop":  {reason: "the answer never comes", plan: fault.Plan{Drop: true}, want: "", eof: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := fault.StartProxy(t, lines(t), tc.plan)
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.URL())
			g.Expect(err).NotTo(HaveOccurred())
			defer c.Close()
			_, err = io.WriteString(c, "a\nb\n")
			g.Expect(err).NotTo(HaveOccurred())
			_ = c.(*net.TCPConn).CloseWrite()
			b, err := io.ReadAll(c)
			g.Expect(err == nil).To(Equal(tc.eof), "%s: %v", tc.reason, err)
			if tc.eof {
				g.Expect(string(b)).To(Equal(tc.want), tc.reason)
			}
			g.Expect(p.Count(fault.Match{Method: "TCP"})).To(Equal(1))
		})
	}
}

func TestProxyRefusesNonsense(t *testing.T) {
	g := NewWithT(t)
	_, err := fault.RunProxy(t.Context(), fault.ProxyOptions{Upstream: "nonsense"})
	g.Expect(errors.Is(err, fault.ErrUpstream)).To(BeTrue())
}

func TestClock(t *testing.T) {
	g := NewWithT(t)
	c := fault.NewClock(time.Unix(1000, 0))
	c.Advance(-time.Minute)
	g.Expect(c.Now().Unix()).To(BeEquivalentTo(940))
	c.Set(time.Unix(5, 0))
	g.Expect(c.Now().Unix()).To(BeEquivalentTo(5))
	g.Expect(strings.HasPrefix(fault.Plan{Delay: time.Second, Drop: true}.String(), "delay=1s")).To(BeTrue())
}
