// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package netguard

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// HTTPLimits bound what an HTTP server may make a client wait for or hold. 0:
// the default named on each field; negative: unlimited.
type HTTPLimits struct {
	Connect     time.Duration // one connection attempt: 10 s
	TLS         time.Duration // handshake: 10 s
	Header      time.Duration // until the response header: 30 s
	Stall       time.Duration // window in which at least 1 KiB must arrive: 30 s
	Redirects   int           // 5
	HeaderBytes int64         // 64 KiB
	Attempts    int           // 5
	RetryAfter  time.Duration // longest honoured Retry-After: 60 s
}

// WithDefaults fills in the defaults. Negative values become values too large to matter.
func (l HTTPLimits) WithDefaults() HTTPLimits {
	for _, f := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&l.Connect, 10 * time.Second}, {&l.TLS, 10 * time.Second}, {&l.Header, 30 * time.Second}, {&l.Stall, 30 * time.Second}, {&l.RetryAfter, time.Minute}} {
		switch {
		case *f.v == 0:
			*f.v = f.def
		case *f.v < 0:
			*f.v = 1<<63 - 1
		}
	}
	if l.Redirects == 0 {
		l.Redirects = 5
	} else if l.Redirects < 0 {
		l.Redirects = 1 << 20
	}
	if l.HeaderBytes == 0 {
		l.HeaderBytes = 64 << 10
	} else if l.HeaderBytes < 0 {
		l.HeaderBytes = 1 << 30
	}
	if l.Attempts == 0 {
		l.Attempts = 5
	} else if l.Attempts < 0 {
		l.Attempts = 1 << 20
	}
	return l
}

// Transport returns a transport that dials through d, with TLS 1.2 as floor.
// tlsConfig is cloned; nil is the system's roots. Nothing is decompressed.
func (l HTTPLimits) Transport(d *Dialer, tlsConfig *tls.Config) *http.Transport {
	l = l.WithDefaults()
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if tlsConfig != nil {
		cfg = tlsConfig.Clone()
		cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	}
	cfg.Renegotiation = tls.RenegotiateNever
	t := &http.Transport{
		DialContext: d.DialContext, TLSClientConfig: cfg, TLSHandshakeTimeout: l.TLS, ResponseHeaderTimeout: l.Header,
		MaxResponseHeaderBytes: l.HeaderBytes, DisableCompression: true, ForceAttemptHTTP2: true,
		IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 4,
	}
	switch {
	case d.Policy.Proxy != nil:
		t.Proxy = http.ProxyURL(d.Policy.Proxy)
	case d.Policy.ProxyFromEnvironment:
		t.Proxy = http.ProxyFromEnvironment
	}
	return t
}

// Origin is what credentials are bound to: scheme, host and port of u.
func Origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "ssh": "22"}[strings.ToLower(u.Scheme)]
	}
	return strings.ToLower(u.Scheme) + "://" + HostPort(u.Hostname(), port)
}

// Redirect judges following a redirect from one URL to the next; hops counts
// those already followed. sameOrigin false means that credentials, cookies and
// client certificates must not be sent, neither there nor after a hop back.
func (l HTTPLimits) Redirect(from, to *url.URL, hops int) (sameOrigin bool, err error) {
	l = l.WithDefaults()
	why := ""
	switch {
	case hops >= l.Redirects:
		why = fmt.Sprintf("more than %d", l.Redirects)
	case to.Scheme != "http" && to.Scheme != "https":
		why = "scheme " + fmt.Sprintf("%q", to.Scheme)
	case from.Scheme == "https" && to.Scheme == "http":
		why = "from https to http"
	case to.User != nil:
		why = "userinfo in the target"
	}
	if why != "" {
		return false, fmt.Errorf("%w: %s", ErrRedirectBlocked, why)
	}
	return Origin(from) == Origin(to), nil
}

// CheckCredentials refuses credentials that would travel to u in clear text.
func (p Policy) CheckCredentials(u *url.URL) error {
	if !strings.EqualFold(u.Scheme, "http") || p.HTTPCredentials == Always {
		return nil
	}
	if p.HTTPCredentials == Cluster && clusterHost(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%w to host %q: use https", ErrInsecureCredentials, u.Hostname())
}

func clusterHost(h string) bool {
	if a, err := netip.ParseAddr(h); err == nil {
		return a.IsLoopback()
	}
	h = strings.ToLower(strings.TrimSuffix(h, "."))
	return !strings.Contains(h, ".") || strings.HasSuffix(h, ".svc") || strings.HasSuffix(h, ".svc.cluster.local")
}

// Stalled wraps a body so that a read fails with [ErrStalled] when less than 1
// KiB arrived within window. It closes body to unblock the pending read.
func Stalled(body io.ReadCloser, window time.Duration) io.ReadCloser {
	s := &stallReader{body: body, window: window}
	s.mu.Lock() // the timer may fire before it is stored
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(window, s.tick)
	return s
}

const stallBytes = 1 << 10

type stallReader struct {
	body   io.ReadCloser
	window time.Duration
	timer  *time.Timer

	mu      sync.Mutex
	n       int
	stalled bool
}

func (s *stallReader) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n < stallBytes {
		s.stalled = true
		_ = s.body.Close()
		return
	}
	s.n = 0
	s.timer.Reset(s.window)
}

func (s *stallReader) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n += n
	if err != nil {
		s.timer.Stop()
		if s.stalled && !errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: less than %d bytes in %s", ErrStalled, stallBytes, s.window)
		}
	}
	return n, err
}

func (s *stallReader) Close() error {
	s.timer.Stop()
	return s.body.Close()
}
