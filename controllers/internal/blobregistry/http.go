// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/controllers/internal/netguard"
)

// What a request needs to be allowed. Nothing asks for more than it does.
const (
	pull   = "pull"
	push   = "pull,push"
	remove = "delete"
)

// call is one request.
type call struct {
	op      string
	method  string
	url     *url.URL
	header  http.Header
	actions string
	size    int64
	body    func() io.Reader // nil: none
}

func (r *Registry) url(parts ...string) *url.URL {
	u := *r.base
	u.Path = "/v2/" + r.repo + "/" + strings.Join(parts, "/")
	return &u
}

// do sends a request, with credentials where they belong, and follows
// redirects of what only reads.
func (r *Registry) do(ctx context.Context, c call) (*http.Response, error) {
	used := ""
	if r.ours(c.url) {
		var err error
		if used, err = r.auth.header(ctx, c.actions); err != nil {
			return nil, failed(c.op, err)
		}
	}
	for again := true; ; again = false {
		resp, ours, err := r.follow(ctx, c, used)
		if err != nil {
			return nil, failed(c.op, err)
		}
		if resp.StatusCode != http.StatusUnauthorized || !again || !ours {
			return resp, nil
		}
		e := r.answered(c.op, c.method, resp)
		next, err := r.auth.challenged(ctx, resp.Header, c.actions, used)
		if err != nil {
			return nil, failed(c.op, err)
		}
		if next == "" || next == used {
			return nil, e
		}
		used = next
	}
}

func (r *Registry) ours(u *url.URL) bool { return netguard.Origin(u) == netguard.Origin(r.base) }

// follow sends a request and follows redirects. Credentials end at the first
// server that is not the registry.
func (r *Registry) follow(ctx context.Context, c call, authorization string) (*http.Response, bool, error) {
	ours := r.ours(c.url)
	for u, hops := c.url, 0; ; hops++ {
		resp, err := r.send(ctx, c, u, ours, authorization)
		if err != nil {
			return nil, ours, err
		}
		switch resp.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return resp, ours, nil
		}
		_ = resp.Body.Close()
		if c.method != http.MethodGet && c.method != http.MethodHead {
			return nil, ours, fmt.Errorf("%w: of a %s request", netguard.ErrRedirectBlocked, c.method)
		}
		next, err := u.Parse(resp.Header.Get("Location"))
		if err != nil {
			return nil, ours, fmt.Errorf("%w: malformed target", netguard.ErrRedirectBlocked)
		}
		same, err := r.o.HTTP.Redirect(u, next, hops)
		if err != nil {
			return nil, ours, err
		}
		u, ours = next, ours && same
	}
}

func (r *Registry) send(ctx context.Context, c call, u *url.URL, ours bool, authorization string) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var body io.Reader
	if c.body != nil && c.size > 0 {
		body = newProgress(c.body(), r.o.HTTP.Stall, cancel)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, u.String(), body)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", r.o.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	req.ContentLength = c.size
	client := r.far
	if ours {
		client = r.own
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, netguard.ErrStalled) {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &cancelled{netguard.Stalled(resp.Body, r.o.HTTP.Stall), cancel}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%w: encoding %q", artifact.ErrCorrupt, enc)
	}
	return resp, nil
}

// cancelled ends a request's context with its body.
type cancelled struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (c *cancelled) Close() error {
	err := c.ReadCloser.Close()
	c.cancel(nil)
	return err
}

// progress ends a request whose body is not taken for a while.
type progress struct {
	r     io.Reader
	wait  time.Duration
	mu    sync.Mutex
	timer *time.Timer
}

func newProgress(r io.Reader, wait time.Duration, cancel context.CancelCauseFunc) *progress {
	return &progress{r: r, wait: wait, timer: time.AfterFunc(wait, func() {
		cancel(fmt.Errorf("%w: nothing was taken for %s", netguard.ErrStalled, wait))
	})}
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.timer.Stop()
	} else {
		p.timer.Reset(p.wait)
	}
	return n, err
}

// Close stops the watch.
func (p *progress) Close() error {
	p.timer.Stop()
	return nil
}

// expect returns the response if it has one of the codes, else an error.
func (r *Registry) expect(ctx context.Context, c call, codes ...int) (*http.Response, error) {
	resp, err := r.do(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, code := range codes {
		if resp.StatusCode != code {
			continue
		}
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
			_ = resp.Body.Close()
			return nil, &Error{Op: c.op, Status: code, Attempts: 1, Err: ErrNotRegistry}
		}
		return resp, nil
	}
	return nil, r.answered(c.op, c.method, resp)
}

// once is expect for answers whose body nobody needs.
func (r *Registry) once(ctx context.Context, c call, codes ...int) error {
	resp, err := r.expect(ctx, c, codes...)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// finish is once with attempts.
func (r *Registry) finish(ctx context.Context, c call, codes ...int) error {
	return r.retry(ctx, c.op, func() error { return r.once(ctx, c, codes...) })
}

// read is expect for answers that are read as a whole, up to a limit.
func (r *Registry) read(ctx context.Context, c call, name string, limit int64) ([]byte, http.Header, error) {
	var b []byte
	var h http.Header
	err := r.retry(ctx, c.op, func() error {
		resp, err := r.expect(ctx, c, http.StatusOK)
		if err != nil {
			return err
		}
		defer resp.Body.Close() //nolint:errcheck // read or given up
		if resp.ContentLength > limit {
			return failed(c.op, &artifact.LimitError{Name: name, Max: limit, Got: resp.ContentLength})
		}
		if b, err = io.ReadAll(io.LimitReader(resp.Body, limit+1)); err != nil { //nolint:forbidigo // limited
			return failed(c.op, err)
		}
		if int64(len(b)) > limit {
			return failed(c.op, &artifact.LimitError{Name: name, Max: limit, Got: int64(len(b))})
		}
		h = resp.Header
		return nil
	})
	return b, h, err
}

// retry runs fn until it succeeds, fails for good, or was tried often enough.
func (r *Registry) retry(ctx context.Context, op string, fn func() error) error {
	for n := 1; ; n++ {
		err := fn()
		if err == nil {
			return nil
		}
		if cerr := ctx.Err(); cerr != nil {
			return failed(op, cerr)
		}
		e := failed(op, err)
		e.Attempts = n
		if n >= r.o.HTTP.Attempts || !retryable(err) {
			return e
		}
		if err := r.pause(ctx, n, e.after); err != nil {
			return failed(op, err)
		}
	}
}

// pause waits before attempt n+1.
func (r *Registry) pause(ctx context.Context, n int, atLeast time.Duration) error {
	d := r.o.Backoff
	for range min(n-1, 4) {
		d *= 3
	}
	d = max(time.Duration(rand.Int64N(int64(d)+1)), atLeast) //nolint:gosec // no secret
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
