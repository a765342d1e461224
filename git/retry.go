// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"time"
)

// transportError is a connection that could not be made or did not last. Its
// server may well do what it was asked for another time.
type transportError struct{ error }

func (e *transportError) Unwrap() error { return e.error }

// isLost reports whether an error is the connection's, not the server's word.
func isLost(err error) bool {
	var lost *transportError
	return errors.As(err, &lost)
}

// repeat takes a step that changes nothing, numbered from 1, and takes it again
// while that may help.
func (c *Client) repeat(ctx context.Context, step func(attempt int) error) error {
	for attempt := 1; ; attempt++ {
		err := step(attempt)
		wait, ok := c.wait(ctx, err, attempt)
		if !ok {
			return err
		}
		if perr := pause(ctx, wait); perr != nil {
			return errors.Join(perr, err)
		}
	}
}

// wait decides whether and when a failed step is repeated.
func (c *Client) wait(ctx context.Context, err error, attempt int) (time.Duration, bool) {
	if err == nil || ctx.Err() != nil || attempt >= c.http.Attempts {
		return 0, false
	}
	var status *statusError
	if errors.As(err, &status) {
		switch status.status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return max(retryDelay(attempt), min(status.after, c.http.RetryAfter)), true
		}
		return 0, false
	}
	var cert *tls.CertificateVerificationError
	if !isLost(err) || errors.Is(err, ErrAddressBlocked) || errors.Is(err, ErrInvalidOption) || errors.As(err, &cert) {
		return 0, false
	}
	return retryDelay(attempt), true
}
