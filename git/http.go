// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/git/internal/netguard"
	"github.com/gitops-kit/sdk/git/internal/redact"
)

// webKey says which transports are the same.
type webKey struct {
	tls      *tls.Config
	origin   string
	proxy    string
	identity string
	policy   string
	foreign  bool // another origin than the configured: no client certificate
}

// webLink speaks to one HTTP server on behalf of one operation.
type webLink struct {
	c       *Client
	base    *url.URL // moves once, by a redirect of the discovery
	foreign bool     // base is another origin: nothing of ours goes there
	cred    Credential
	retried bool // the credential was asked for again
}

func (c *Client) roots() *x509.CertPool {
	if c.tls == nil {
		return nil
	}
	return c.tls.RootCAs
}

func (c *Client) openWeb(ctx context.Context) (*webLink, error) {
	cred, err := c.credential(ctx, false)
	if err != nil {
		return nil, err
	}
	return &webLink{c: c, base: c.url, cred: cred}, nil
}

func (l *webLink) transport() (*http.Transport, error) {
	c := l.c
	p, err := c.proxyFor(l.base)
	if err != nil {
		return nil, err
	}
	k := webKey{tls: c.opts.TLS, origin: netguard.Origin(c.trusted) + " " + netguard.Origin(c.url), identity: l.cred.identity(), foreign: l.foreign, policy: fmt.Sprint(c.opts.Net.AllowCIDR, c.opts.Net.DenyCIDR, c.http)}
	if p != nil {
		k.proxy = p.String()
	}
	return c.pool.transport(k, func() *http.Transport {
		cfg := c.tls
		if l.foreign && cfg != nil {
			cfg = cfg.Clone()
			cfg.Certificates, cfg.GetClientCertificate = nil, nil
		}
		d := c.dialer(c.trusted, p)
		d.Policy.Proxy, d.Policy.ProxyFromEnvironment = nil, false
		t := c.http.Transport(d, cfg)
		if p != nil {
			t.Proxy = func(req *http.Request) (*url.URL, error) {
				host, port := hostPort(req.URL)
				return p, vet(req.Context(), d, netguard.HostPort(host, port))
			}
		}
		return t
	}), nil
}

// request is one HTTP request of the protocol.
type request struct {
	method  string
	suffix  string // below the base
	query   string
	body    []byte
	stream  io.ReadSeeker // a longer body, after body
	length  int64         // of stream
	accept  string        // media type of the answer
	typ     string        // media type of the body
	proto   string        // Git-Protocol
	follow  bool          // redirects may be followed
	noCheck bool          // leave the media type to the caller
}

func (l *webLink) build(ctx context.Context, r *request, to *url.URL) (*http.Request, error) {
	body := r.body
	gz := len(body) > 1024 && r.typ != "" && r.stream == nil
	if gz {
		body = compressed(body)
	}
	var rd io.Reader
	if body != nil {
		rd = bytes.NewReader(body)
	}
	if r.stream != nil {
		if _, err := r.stream.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		rd = io.MultiReader(rd, io.LimitReader(r.stream, r.length))
	}
	req, err := http.NewRequestWithContext(ctx, r.method, to.String(), rd)
	if err != nil {
		return nil, err
	}
	if r.stream != nil {
		req.ContentLength = int64(len(body)) + r.length
	}
	h := req.Header
	h.Set("User-Agent", l.c.agent)
	h.Set("Accept-Encoding", "identity")
	if r.accept != "" {
		h.Set("Accept", r.accept+", */*;q=0.1")
	}
	if r.typ != "" {
		h.Set("Content-Type", r.typ)
	}
	if gz {
		h.Set("Content-Encoding", "gzip")
	}
	if r.proto != "" {
		h.Set("Git-Protocol", r.proto)
	}
	l.authorize(h)
	return req, nil
}

func (l *webLink) authorize(h http.Header) {
	if l.foreign {
		return
	}
	switch {
	case !l.cred.Bearer.IsZero():
		h.Set("Authorization", "Bearer "+l.cred.Bearer.Reveal())
	case !l.cred.Password.IsZero() || l.cred.Username != "":
		r := http.Request{Header: h}
		r.SetBasicAuth(l.cred.Username, l.cred.Password.Reveal())
	}
}

func compressed(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

// do sends a request until there is an answer that counts: it follows the
// redirects that Git allows, and asks for another credential once.
func (l *webLink) do(ctx context.Context, r request) (*http.Response, error) {
	target := l.base.JoinPath(r.suffix)
	target.RawQuery = r.query
	if q := l.base.RawQuery; q != "" {
		target.RawQuery = strings.TrimSuffix(q+"&"+r.query, "&")
	}
	for hops := 0; ; {
		resp, err := l.send(ctx, &r, target)
		if err != nil {
			return nil, err
		}
		if r.follow && redirects(resp.StatusCode) {
			if target, err = l.redirect(resp, target, r.suffix, hops); err != nil {
				return nil, err
			}
			hops++
			continue
		}
		again, err := l.judge(ctx, resp, &r)
		if err == nil && !again {
			return resp, nil
		}
		if err = errors.Join(err, resp.Body.Close()); !again || err != nil {
			return nil, err
		}
	}
}

func (l *webLink) send(ctx context.Context, r *request, to *url.URL) (*http.Response, error) {
	t, err := l.transport()
	if err != nil {
		return nil, err
	}
	req, err := l.build(ctx, r, to)
	if err != nil {
		return nil, err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, &transportError{fmt.Errorf("%s %q: %w", r.method, shown(to), err)}
	}
	return resp, nil
}

// statusError is an answer that says no.
type statusError struct {
	status int
	after  time.Duration
	err    error
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%v: status %d %s", e.err, e.status, http.StatusText(e.status))
}
func (e *statusError) Unwrap() error { return e.err }

func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirect moves the base of the operation.
func (l *webLink) redirect(resp *http.Response, from *url.URL, suffix string, hops int) (*url.URL, error) {
	_ = resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("%w: no usable location", ErrRedirectBlocked)
	}
	same, err := l.c.http.Redirect(from, to, hops)
	if err != nil {
		return nil, err
	}
	path, ok := strings.CutSuffix(to.Path, "/"+suffix)
	if !ok {
		return nil, fmt.Errorf("%w: target is not below %q", ErrRedirectBlocked, suffix)
	}
	base := *to
	base.Path, base.RawPath, base.RawQuery, base.Fragment = path, "", "", ""
	l.base = &base
	l.foreign = l.foreign || !same
	return to, nil
}

// judge turns a status into an error, or into the wish to try again with
// another credential.
func (l *webLink) judge(ctx context.Context, resp *http.Response, r *request) (again bool, err error) {
	switch s := resp.StatusCode; {
	case s == http.StatusOK:
		if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
			return false, fmt.Errorf("content encoding %q: %w", redact.Text(e, 32), ErrProtocol)
		}
		return false, r.media(resp)
	case s == http.StatusUnauthorized:
		if l.retried || l.foreign || l.c.opts.Credentials == nil {
			return false, &statusError{status: s, err: ErrAuth}
		}
		l.retried = true
		cred, err := l.c.credential(ctx, true)
		if err != nil {
			return false, err
		}
		if cred.same(l.cred) {
			return false, &statusError{status: s, err: ErrAuth}
		}
		l.cred = cred
		return true, nil
	case s == http.StatusForbidden:
		return false, &statusError{status: s, err: ErrForbidden}
	case s == http.StatusNotFound || s == http.StatusGone:
		return false, &statusError{status: s, err: ErrRepositoryNotFound}
	case redirects(s):
		return false, &statusError{status: s, err: ErrRedirectBlocked}
	default:
		return false, &statusError{status: s, after: retryAfter(resp), err: ErrRemote}
	}
}

// media checks the type of the answer: a login page is not Git.
func (r *request) media(resp *http.Response) error {
	if r.noCheck {
		return nil
	}
	got, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if got == r.accept {
		return nil
	}
	why := ""
	if got == "text/plain" && strings.HasSuffix(r.suffix, "info/refs") {
		why = " (a server of the dumb protocol, which is not supported)"
	}
	return fmt.Errorf("answer has type %q%s: %w", redact.Text(got, 64), why, ErrNotGit)
}

func retryAfter(resp *http.Response) time.Duration {
	v := resp.Header.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n >= 0 {
		return time.Duration(min(n, 1<<20)) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}
