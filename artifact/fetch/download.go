// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/artifact/internal/netguard"
	"github.com/gitops-kit/sdk/untar/digest"
)

// transfer is one download over several attempts.
type transfer struct {
	f      *Fetcher
	client *http.Client
	u      *url.URL
	want   digest.Digest
	size   int64 // expected, 0 if unknown
	max    int64
	w      *os.File
	res    *Result

	hash    hash.Hash
	have    int64
	etag    bool // the server showed the digest as a strong ETag
	noCache bool
}

// download fills w and compares size and digest.
func (f *Fetcher) download(ctx context.Context, r Ref, want digest.Digest, u *url.URL, w *os.File, res *Result) error {
	h, err := digest.New(want.Algorithm)
	if err != nil {
		return err
	}
	t := &transfer{f: f, client: f.lane(u).client, u: u, want: want, size: r.Size, max: f.maxBytes(), w: w, res: res, hash: h}
	if r.Size > 0 {
		t.max = r.Size // check saw to it that this is not too much
	}
	retries := f.o.Retries
	if retries == 0 {
		retries = 9
	}
	delay := f.o.RetryDelay
	if delay <= 0 {
		delay = 500 * time.Millisecond
	}
	for {
		after, err := t.attempt(ctx)
		if err == nil {
			err = t.verify()
		}
		if err == nil {
			res.Digest = want.String()
			return nil
		}
		if errors.Is(err, ErrDigestMismatch) && !t.noCache && retries > 0 {
			t.noCache = true
			if err := t.restart(); err != nil {
				return err
			}
			retries--
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if retries <= 0 || !retryable(err) {
			return err
		}
		retries--
		if err := pause(ctx, jitter(max(delay, after))); err != nil {
			return err
		}
		delay = min(2*delay, f.retryMax())
	}
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch u.Scheme {
	case "https":
		return "443"
	case "socks5", "socks5h":
		return "1080"
	}
	return "80"
}

func (f *Fetcher) retryMax() time.Duration {
	if f.o.RetryMax > 0 {
		return f.o.RetryMax
	}
	return 10 * time.Second
}

// jitter takes between 50 and 100 percent.
func jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(rand.Int64N(int64(d/2)+1)) //nolint:gosec // no secret
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

var (
	errCut   = errors.New("connection was cut")
	errLocal = errors.New("the file cannot be written")
)

func retryable(err error) bool {
	var s *StatusError
	if errors.As(err, &s) {
		switch s.Code {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	if errors.Is(err, ErrRedirectBlocked) || errors.Is(err, ErrAddressBlocked) || errors.Is(err, errLocal) {
		return false
	}
	var ue *url.Error
	var ne net.Error
	return errors.Is(err, errCut) || errors.Is(err, ErrStalled) || errors.As(err, &ue) || errors.As(err, &ne)
}

// attempt makes one request and stores what it gives. after is what the
// server asks to wait.
func (t *transfer) attempt(ctx context.Context) (after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.u.String(), nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	if t.noCache {
		req.Header.Set("Cache-Control", "no-cache")
	}
	resuming := t.have > 0 && t.etag
	if resuming {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", t.have))
		req.Header.Set("If-Range", t.tag())
	}
	t.res.Attempts++
	resp, err := t.client.Do(req)
	if err != nil {
		return 0, err
	}
	// Closing without reading on drops the connection where the body is not at
	// its end.
	defer resp.Body.Close() //nolint:errcheck // nothing to do about it
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		after = t.retryAfter(resp.Header.Get("Retry-After"))
	}
	if err := t.begin(resp, resuming); err != nil {
		return after, err
	}
	return 0, t.body(resp)
}

func (t *transfer) tag() string { return `"` + t.want.String() + `"` }

func (t *transfer) retryAfter(s string) time.Duration {
	limit := t.f.o.HTTP.WithDefaults().RetryAfter
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, limit)
	}
	if at, err := http.ParseTime(s); err == nil {
		return min(max(time.Until(at), 0), limit)
	}
	return 0
}

// begin judges an answer by its header and puts the file where its body
// belongs.
func (t *transfer) begin(resp *http.Response, resuming bool) error {
	switch {
	case resp.StatusCode == http.StatusOK:
	case resp.StatusCode == http.StatusPartialContent && resuming:
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && resuming:
		t.etag = false // start over
		return errors.Join(t.restart(), errCut)
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone:
		return ErrNotFound
	default:
		return &StatusError{Code: resp.StatusCode}
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return fmt.Errorf("%w: content encoding that was not asked for", ErrResponse)
	}
	total := resp.ContentLength
	if resp.StatusCode == http.StatusPartialContent {
		first, whole, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || first != t.have || total >= 0 && whole >= 0 && first+total != whole {
			return fmt.Errorf("%w: another range than asked for", ErrResponse)
		}
		total = whole
		t.res.Resumed++
	} else if err := t.restart(); err != nil {
		return err
	}
	if total >= 0 {
		switch {
		case t.size > 0 && total != t.size:
			return fmt.Errorf("%w: want %d bytes, server has %d", ErrSizeMismatch, t.size, total)
		case total > t.max:
			return &LimitError{Name: limitCompressed, Max: t.max, Got: total}
		}
	}
	t.etag = resp.Header.Get("ETag") == t.tag()
	return nil
}

// contentRange reads "bytes <first>-<last>/<whole>".
func contentRange(s string) (first, whole int64, ok bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, 0, false
	}
	span, all, ok := strings.Cut(rest, "/")
	if !ok {
		return 0, 0, false
	}
	from, _, ok := strings.Cut(span, "-")
	if !ok {
		return 0, 0, false
	}
	first, err := strconv.ParseInt(from, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	if all == "*" {
		return first, -1, true
	}
	whole, err = strconv.ParseInt(all, 10, 64)
	return first, whole, err == nil
}

// restart forgets what was received.
func (t *transfer) restart() error {
	if t.have == 0 {
		return nil
	}
	t.have, t.res.Bytes = 0, 0
	t.hash.Reset()
	err := t.w.Truncate(0)
	if err == nil {
		_, err = t.w.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	return nil
}

// body stores the body, hashed and counted, up to the limit and one byte.
func (t *transfer) body(resp *http.Response) error {
	in := netguard.Stalled(resp.Body, t.f.o.HTTP.WithDefaults().Stall)
	defer in.Close() //nolint:errcheck // see attempt
	buf := make([]byte, 64<<10)
	for {
		p := buf
		if left := t.max - t.have; int64(len(p)) > left {
			p = p[:left+1]
		}
		n, err := in.Read(p)
		if t.have+int64(n) > t.max {
			t.res.Bytes = t.have + int64(n)
			if t.size > 0 {
				return fmt.Errorf("%w: more than %d bytes", ErrSizeMismatch, t.size)
			}
			return &LimitError{Name: limitCompressed, Max: t.max, Got: t.have + int64(n)}
		}
		if n > 0 {
			_, _ = t.hash.Write(p[:n])
			if _, werr := t.w.Write(p[:n]); werr != nil {
				return fmt.Errorf("%w: %w", errLocal, werr)
			}
			t.have += int64(n)
			t.res.Bytes = t.have
		}
		switch {
		case errors.Is(err, io.EOF):
			return t.complete(resp)
		case errors.Is(err, ErrStalled):
			return err
		case err != nil:
			return fmt.Errorf("%w: %w", errCut, err)
		}
	}
}

// complete is called at the end of a body. Fewer bytes than expected are a
// cut, which can be resumed.
func (t *transfer) complete(resp *http.Response) error {
	if t.size > 0 && t.have < t.size {
		if resp.ContentLength < 0 {
			return fmt.Errorf("%w: %w: want %d bytes, got %d", ErrSizeMismatch, errCut, t.size, t.have)
		}
		return errCut
	}
	return nil
}

func (t *transfer) verify() error {
	got := digest.Sum(t.want.Algorithm, t.hash)
	if got != t.want {
		return &DigestError{Want: t.want.String(), Got: got.String(), Bytes: t.have}
	}
	return nil
}
