// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package netguard_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitops-kit/sdk/tools/shared/netguard"
)

// NET-2
func TestCheck(t *testing.T) {
	cases := map[string]struct {
		reason               string
		addr                 string
		policy               netguard.Policy
		configured, supplied bool // allowed
	}{
		"Public":      {reason: "ordinary addresses are fine", addr: "93.184.216.34", configured: true, supplied: true},
		"Loopback":    {reason: "only where the caller named it", addr: "127.0.0.1", configured: true},
		"Loopback6":   {reason: "likewise", addr: "::1", configured: true},
		"Private":     {reason: "likewise", addr: "10.1.2.3", configured: true},
		"Private6":    {reason: "unique local", addr: "fd00::1", configured: true},
		"Shared":      {reason: "carrier grade NAT", addr: "100.64.1.1", configured: true},
		"Metadata":    {reason: "link-local is refused even if configured", addr: "169.254.169.254"},
		"LinkLocal6":  {reason: "likewise", addr: "fe80::1%eth0"},
		"Multicast":   {reason: "never", addr: "224.0.0.1"},
		"Unspecified": {reason: "never", addr: "0.0.0.0"},
		"Broadcast":   {reason: "never", addr: "255.255.255.255"},
		"Mapped":      {reason: "v4 in v6 is judged as v4", addr: "::ffff:10.0.0.1", configured: true},
		"NAT64":       {reason: "embeds link-local", addr: "64:ff9b::a9fe:a9fe"},
		"6to4":        {reason: "embeds 10.0.0.1", addr: "2002:a00:1::1", configured: true},
		"Teredo":      {reason: "embeds the inverted 10.0.0.1", addr: "2001::f5ff:fffe", configured: true},
		"Allowed": {
			reason: "an exception frees it", addr: "169.254.169.254", configured: true, supplied: true,
			policy: netguard.Policy{AllowCIDR: []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16")}},
		},
		"DeniedBeatsAllowed": {
			reason: "deny is stronger", addr: "10.0.0.1",
			policy: netguard.Policy{AllowCIDR: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, DenyCIDR: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for configured, want := range map[bool]bool{true: tc.configured, false: tc.supplied} {
				err := tc.policy.Check("host", netip.MustParseAddr(tc.addr), configured)
				if (err == nil) != want || err != nil && !errors.Is(err, netguard.ErrAddressBlocked) {
					t.Errorf("configured %v: got %v: %s", configured, err, tc.reason)
				}
			}
		})
	}
}

// NET-1: all addresses of a name are judged, and none is dialled if one is bad.
func TestDialerJudgesEveryAddress(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	lookups := 0
	d := &netguard.Dialer{Lookup: func(context.Context, string, string) ([]netip.Addr, error) {
		lookups++
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("169.254.169.254")}, nil
	}, Configured: map[string]bool{netguard.HostPort("Example.com", port): true}}
	if _, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort("example.com", port)); !errors.Is(err, netguard.ErrAddressBlocked) {
		t.Errorf("got %v", err)
	}
	d.Lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		lookups++
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort("example.com", port))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if lookups != 2 {
		t.Errorf("%d lookups for 2 dials", lookups)
	}
	if _, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort("other.example.com", port)); !errors.Is(err, netguard.ErrAddressBlocked) {
		t.Errorf("a name that was not configured reached loopback: %v", err)
	}
}

// NET-3
func TestRedirect(t *testing.T) {
	cases := map[string]struct {
		from, to string
		hops     int
		same     bool
		blocked  bool
	}{
		"Same":        {from: "https://a/x", to: "https://a:443/y", same: true},
		"OtherPort":   {from: "https://a/x", to: "https://a:8443/y"},
		"Subdomain":   {from: "https://a.b/x", to: "https://c.a.b/x"},
		"Downgrade":   {from: "https://a/", to: "http://a/", blocked: true},
		"Upgrade":     {from: "http://a/", to: "https://a/"},
		"Scheme":      {from: "http://a/", to: "file:///etc/passwd", blocked: true},
		"TooMany":     {from: "http://a/", to: "http://a/b", hops: 5, blocked: true},
		"LastAllowed": {from: "http://a/", to: "http://a/b", hops: 4, same: true},
		"Userinfo":    {from: "http://a/", to: "http://u:p@a/", blocked: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			from, _ := url.Parse(tc.from)
			to, _ := url.Parse(tc.to)
			same, err := netguard.HTTPLimits{}.Redirect(from, to, tc.hops)
			if same != tc.same || errors.Is(err, netguard.ErrRedirectBlocked) != tc.blocked {
				t.Errorf("got %v, %v", same, err)
			}
		})
	}
}

// NET-5
func TestCheckCredentials(t *testing.T) {
	cases := map[string]struct {
		url  string
		mode netguard.HTTPCredentials
		ok   bool
	}{
		"HTTPS":       {url: "https://example.com", mode: netguard.Never, ok: true},
		"HTTP":        {url: "http://example.com"},
		"SingleLabel": {url: "http://git", ok: true},
		"Service":     {url: "http://git.default.svc.cluster.local.:3000", ok: true},
		"Loopback":    {url: "http://127.0.0.1:1", ok: true},
		"Loopback6":   {url: "http://[::1]:1", ok: true},
		"Lookalike":   {url: "http://127.0.0.1.example.com"},
		"Local":       {url: "http://printer.local"},
		"Never":       {url: "http://git", mode: netguard.Never},
		"Always":      {url: "http://example.com", mode: netguard.Always, ok: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			u, _ := url.Parse(tc.url)
			err := netguard.Policy{HTTPCredentials: tc.mode}.CheckCredentials(u)
			if (err == nil) != tc.ok || err != nil && !errors.Is(err, netguard.ErrInsecureCredentials) {
				t.Errorf("got %v", err)
			}
		})
	}
}

type pipe struct {
	io.Reader
	close func() error
}

func (p pipe) Close() error { return p.close() }

func TestStalledBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		done := make(chan struct{})
		go func() { // 2 KiB at once, then a byte every ten seconds
			defer close(done)
			_, _ = w.Write(make([]byte, 2048))
			for {
				time.Sleep(10 * time.Second)
				if _, err := w.Write([]byte{1}); err != nil {
					return
				}
			}
		}()
		body := netguard.Stalled(pipe{r, r.Close}, 30*time.Second)
		begin := time.Now()
		n, err := io.Copy(io.Discard, body)
		<-done
		if !errors.Is(err, netguard.ErrStalled) {
			t.Fatalf("got %v", err)
		}
		if n < 2048 || time.Since(begin) > 71*time.Second {
			t.Errorf("%d bytes in %s", n, time.Since(begin))
		}
	})
}

func TestBodyThatFlowsIsNotStalled(t *testing.T) {
	body := netguard.Stalled(io.NopCloser(strings.NewReader("short")), time.Hour)
	if got, err := io.ReadAll(body); string(got) != "short" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// NET-7: nothing below TLS 1.2, and nothing is decompressed behind our back.
func TestTransport(t *testing.T) {
	tr := netguard.HTTPLimits{}.Transport(&netguard.Dialer{}, nil)
	if tr.TLSClientConfig.MinVersion < 0x0303 || !tr.DisableCompression || tr.Proxy != nil {
		t.Errorf("transport too lax: %+v", tr)
	}
}
