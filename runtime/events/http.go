// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/runtime/internal/netguard"
	"github.com/gitops-kit/sdk/runtime/internal/redact"
)

const (
	attemptTime = 5 * time.Second
	retries     = 4
	minWait     = time.Second
	maxWait     = 30 * time.Second
	retryAfter  = 60 * time.Second
	drainBytes  = 64 << 10
	tokenAge    = 60 * time.Second
	tokenBytes  = 64 << 10
)

// TokenFile is where a projected token of audience notification-controller is
// mounted when there is one.
const TokenFile = "/var/run/secrets/gitops-kit/events/token" //nolint:gosec // a path

// ErrAddress reports a sink address that is not an absolute http or https URL.
var ErrAddress = errors.New("event sink address must be an absolute http or https URL")

// SinkError reports a status with which a sink refused an event.
type SinkError struct {
	// Status is the HTTP status code.
	Status int
}

// Error names the status.
func (e *SinkError) Error() string { return "event sink answered " + strconv.Itoa(e.Status) }

// HTTPOptions of an HTTP sink. The zero value sends without a token, with the
// system's certificate authorities.
type HTTPOptions struct {
	// TokenFile holds a bearer token; it is read again when it is older than a
	// minute. A missing file means no token. "" is no file.
	TokenFile string
	// CAFile holds PEM certificates that replace the system's.
	CAFile string
	// Timeout of one attempt; 0 is five seconds.
	Timeout time.Duration
	// MinWait and MaxWait bound the pauses between attempts; 0 is one and thirty
	// seconds.
	MinWait, MaxWait time.Duration
}

// HTTP posts events to the notification controller or another sink.
type HTTP struct {
	url    string
	client *http.Client
	o      HTTPOptions

	mu    sync.Mutex
	token string
	read  time.Time
}

var (
	_ Sink   = (*HTTP)(nil)
	_ Filter = (*HTTP)(nil)
)

// NewHTTP returns a sink that posts to address. An address that is no http or
// https URL is [ErrAddress]; a CA file without certificates is an error.
func NewHTTP(address string, o HTTPOptions) (*HTTP, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q: %w", redact.URL(address), ErrAddress)
	}
	if o.Timeout <= 0 {
		o.Timeout = attemptTime
	}
	if o.MinWait <= 0 {
		o.MinWait = minWait
	}
	if o.MaxWait <= 0 {
		o.MaxWait = maxWait
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read CA file of the event sink: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("CA file of the event sink has no certificate")
		}
	}
	limits := netguard.HTTPLimits{Connect: o.Timeout, TLS: o.Timeout, Header: o.Timeout}.WithDefaults()
	t := limits.Transport(&netguard.Dialer{Configured: map[string]bool{hostPort(u): true}}, conf)
	t.MaxIdleConnsPerHost, t.MaxConnsPerHost = shards, shards
	return &HTTP{url: u.String(), o: o, client: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Name is "http".
func (h *HTTP) Name() string { return "http" }

// Accepts refuses Trace events.
func (h *HTTP) Accepts(r *Record) bool { return r.Type != Trace }

// Send posts the record. Connection errors, 5xx and a lost reply are retried up
// to four times, one to thirty seconds apart, or as long as a Retry-After of at
// most 60 seconds says; 429 means that the sink knows the event; every other
// status is final.
func (h *HTTP) Send(ctx context.Context, r *Record) error {
	body, err := r.Payload.Encode()
	if err != nil {
		return err
	}
	wait := h.o.MinWait
	for try := 0; ; try++ {
		after, err := h.post(ctx, body)
		if err == nil {
			return nil
		}
		var se *SinkError
		if errors.As(err, &se) && se.Status < 500 || try == retries || ctx.Err() != nil {
			return err
		}
		d := time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // jitter
		if after > 0 {
			d = min(after, retryAfter)
		}
		wait = min(2*wait, h.o.MaxWait)
		t := time.NewTimer(d)
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
	}
}

func (h *HTTP) post(ctx context.Context, body []byte) (after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.o.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	if t := h.bearer(); t != "" {
		req.Header.Set("Authorization", "Bearer "+t)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the URL may hold a token
		}
		return 0, fmt.Errorf("post event: %w", err)
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, resp.Body, drainBytes)
		_ = resp.Body.Close()
	}()
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300, resp.StatusCode == http.StatusTooManyRequests:
		return 0, nil
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		after = time.Duration(min(s, int(retryAfter/time.Second))) * time.Second
	}
	return after, &SinkError{Status: resp.StatusCode}
}

// bearer returns the token of the file, read again when it is older than a
// minute.
func (h *HTTP) bearer() string {
	if h.o.TokenFile == "" {
		return ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.read.IsZero() && time.Since(h.read) < tokenAge {
		return h.token
	}
	h.read = time.Now()
	f, err := os.Open(h.o.TokenFile)
	if err != nil {
		h.token = ""
		return ""
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, tokenBytes)) //nolint:forbidigo // bounded on this line
	t := strings.TrimSpace(string(data))
	if err != nil || strings.ContainsAny(t, "\r\n") {
		t = ""
	}
	h.token = t
	return h.token
}

// Close closes idle connections.
func (h *HTTP) Close() { h.client.CloseIdleConnections() }

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return netguard.HostPort(u.Hostname(), port)
}
