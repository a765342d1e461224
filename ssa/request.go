// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/limits"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	maxAttempts   = 5
	firstBackoff  = 200 * time.Millisecond
	maxRetryAfter = 60 * time.Second
)

var errStop = errors.New("stop")

type request struct {
	verb, method, path, contentType, accept string
	query                                   url.Values
	body                                    []byte
	resource                                Resource
	namespace                               string
	dryRun, mutating, metadata              bool
	timeout, drain                          time.Duration
}

// reply is one answer of the server.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// do sends the request until an answer is final.
func (c *restCluster) do(ctx context.Context, r request) ([]byte, error) {
	reauthenticated := false
	for attempt := 1; ; attempt++ {
		if err := c.limiter.acquire(ctx); err != nil {
			return nil, err
		}
		if q := c.qps.Load(); q != nil {
			if err := (*q).Wait(ctx); err != nil {
				c.limiter.release(0, false)
				return nil, err
			}
		}
		start := time.Now()
		rep, err := c.once(ctx, r)
		took := time.Since(start)
		c.limiter.release(took, suffered(rep, err))
		c.observe(r, rep, attempt, took)
		if err == nil && rep.status < 300 {
			return rep.body, nil
		}
		if err == nil {
			err = statusError(rep, r)
		}
		wait, again := c.again(ctx, rep, err, attempt, &reauthenticated)
		if !again {
			if errors.Is(err, ErrDiscovery) {
				c.Refresh(r.resource.GVR.Group)
			}
			return nil, c.final(ctx, r, rep, err)
		}
		if wait > 0 {
			if e := sleep(ctx, wait); e != nil {
				return nil, c.final(ctx, r, rep, err)
			}
		}
	}
}

// suffered reports whether the server was overloaded.
func suffered(rep *reply, err error) bool {
	if err != nil {
		return errors.Is(err, context.DeadlineExceeded)
	}
	return rep.status == http.StatusTooManyRequests || rep.status == http.StatusServiceUnavailable || rep.status == http.StatusGatewayTimeout
}

func (c *restCluster) observe(r request, rep *reply, attempt int, took time.Duration) {
	if c.o.Observe == nil {
		return
	}
	info := RequestInfo{Verb: r.verb, Resource: r.resource, Namespace: r.namespace, DryRun: r.dryRun, Metadata: r.metadata, Attempt: attempt, Took: took}
	if rep != nil {
		info.Status = rep.status
	}
	c.o.Observe(info)
}

// final turns the last failure of a request into what callers see.
func (c *restCluster) final(ctx context.Context, r request, rep *reply, err error) error {
	switch {
	case rep != nil && (rep.status == http.StatusTooManyRequests || rep.status == http.StatusServiceUnavailable && rep.header.Get("Retry-After") != ""):
		return &throttledError{after: retryAfter(rep), err: err}
	case rep == nil && r.mutating && sent(err):
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	case rep == nil && ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// sent reports whether a request without a reply may have reached the server.
func sent(err error) bool {
	return !isRefused(err)
}

// once makes one attempt. A request that changes something runs on for
// r.drain after ctx ended.
func (c *restCluster) once(ctx context.Context, r request) (*reply, error) {
	timeout := r.timeout
	if timeout == 0 {
		timeout = c.o.RequestTimeout
	}
	rctx, cancel := drained(ctx, r.drain, timeout)
	defer cancel()
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(rctx, r.method, c.url(r.path, r.query), body)
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing is written
	c.checkFairness(resp)
	rep := &reply{status: resp.StatusCode, header: resp.Header}
	rep.body, err = readBody(resp)
	if err != nil {
		return nil, err
	}
	return rep, nil
}

func readBody(resp *http.Response) ([]byte, error) {
	var buf bytes.Buffer
	if n := resp.ContentLength; n > 0 && n < maxBody {
		buf.Grow(int(n) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read reply: %w", err)
	case n > maxBody:
		return nil, &limits.LimitError{Name: "reply", Max: maxBody, Got: n}
	}
	return buf.Bytes(), nil
}

// drained returns a context that ends timeout from now, and drain after ctx
// ended.
func drained(ctx context.Context, drain, timeout time.Duration) (context.Context, context.CancelFunc) {
	if drain <= 0 {
		return context.WithTimeout(ctx, timeout)
	}
	d, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(drain)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-d.Done():
		}
	})
	return d, func() { stop(); cancel() }
}

const (
	commitTime = time.Minute            // for storing an inventory
	commitTail = 500 * time.Millisecond // of that, when requests took all of the drain window
)

// ending remembers when a context ended.
type ending struct {
	at   time.Time
	done chan struct{}
}

// noteEnd watches ctx until stop is called.
func noteEnd(ctx context.Context) (e *ending, stop func()) {
	e = &ending{done: make(chan struct{})}
	release := context.AfterFunc(ctx, func() {
		e.at = time.Now()
		close(e.done)
	})
	return e, func() { release() }
}

// drained is a context for what must be stored although ctx may have ended.
// The drain window began then.
func (e *ending) drained(ctx context.Context, drain time.Duration) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil || drain <= 0 {
		return drained(ctx, drain, commitTime)
	}
	<-e.done
	return context.WithDeadline(context.WithoutCancel(ctx), e.at.Add(drain+commitTail))
}

// withoutURL removes the address from a transport error; it adds nothing and
// may hold more than a reader should see.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// checkFairness slows us down when the server has no priority and fairness
// that would do it.
func (c *restCluster) checkFairness(resp *http.Response) {
	switch {
	case c.fair.Load():
	case resp.Header.Get("X-Kubernetes-Pf-Flowschema-Uid") != "":
		c.fair.Store(true)
		c.qps.Store(nil)
	case resp.StatusCode < 300 && c.qps.Load() == nil:
		q := flowcontrol.NewTokenBucketRateLimiter(fallbackQPS, fallbackBurst)
		c.qps.CompareAndSwap(nil, &q)
		if c.fair.Load() { // another response said so meanwhile
			c.qps.Store(nil)
		}
	}
}

// again decides whether to try once more, and after which wait.
func (c *restCluster) again(ctx context.Context, rep *reply, err error, attempt int, reauthenticated *bool) (time.Duration, bool) {
	if attempt >= maxAttempts || ctx.Err() != nil {
		return 0, false
	}
	if rep == nil {
		return backoff(attempt), retryable(err)
	}
	switch rep.status {
	case http.StatusUnauthorized:
		if *reauthenticated {
			return 0, false
		}
		*reauthenticated = true
		return 0, true
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		d := retryAfter(rep)
		if d == 0 {
			return backoff(attempt), true
		}
		c.limiter.pause(d)
		return 0, true // acquire waits for the end of the pause
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return backoff(attempt), true
	case http.StatusInternalServerError:
		return backoff(attempt), serverHiccup(rep.body)
	}
	return 0, false
}

func backoff(attempt int) time.Duration {
	return jitter(firstBackoff << (attempt - 1))
}

// jitter varies d by ±20 %.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.4*float64(d)) //nolint:gosec // no secret
}

func retryAfter(rep *reply) time.Duration {
	s, err := strconv.Atoi(rep.header.Get("Retry-After"))
	if err != nil || s <= 0 {
		return 0
	}
	return jitter(min(time.Duration(s)*time.Second, maxRetryAfter))
}

// statusError makes the API error of a reply that is not a success.
func statusError(rep *reply, r request) error {
	var st metav1.Status
	if err := json.Unmarshal(rep.body, &st); err == nil && st.Kind == "Status" && st.Status == metav1.StatusFailure {
		if st.Code == 0 {
			st.Code = int32(rep.status) //nolint:gosec // three digits
		}
		return &apierrors.StatusError{ErrStatus: st}
	}
	if rep.status == http.StatusNotFound && r.verb != "discovery" {
		return fmt.Errorf("%w: %w: %w", ErrDiscovery, errKindGone, apierrors.NewGenericServerResponse(rep.status, strings.ToLower(r.method), r.resource.GVR.GroupResource(), "", "", 0, true))
	}
	text := strings.TrimSpace(string(rep.body[:min(len(rep.body), maxErrorText)]))
	return apierrors.NewGenericServerResponse(rep.status, strings.ToLower(r.method), r.resource.GVR.GroupResource(), "", text, 0, true)
}
