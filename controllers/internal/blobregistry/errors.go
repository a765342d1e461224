// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/controllers/internal/netguard"
	"github.com/gitops-kit/sdk/controllers/internal/redact"
)

// What a registry can refuse or do wrong.
var (
	// ErrUnauthorized: the registry or its token server refuses the credentials.
	ErrUnauthorized = errors.New("access refused by the registry")
	// ErrRealmBlocked: the registry asks to send credentials to a server that
	// is not its own.
	ErrRealmBlocked = errors.New("token server not allowed")
	// ErrNotRegistry: the server is something else.
	ErrNotRegistry = errors.New("not a registry")
	// ErrCrossOrigin: a page of tags leads to another server.
	ErrCrossOrigin = errors.New("page on another server")
	// ErrPageLoop: a page of tags leads to one that was read.
	ErrPageLoop = errors.New("pages form a loop")
)

// Error says which operation failed, and what the registry answered.
type Error struct {
	// Op is the operation, such as "push blob".
	Op string
	// Status is the HTTP status; 0 without an answer.
	Status int
	// Code and Text are the registry's own, escaped and cut.
	Code, Text string
	// Attempts is how often it was tried.
	Attempts int
	// Err is the reason; may be nil beside a status.
	Err error

	after time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	s := "registry: " + e.Op
	if e.Status != 0 {
		s += ": status " + strconv.Itoa(e.Status)
	}
	if e.Code != "" {
		s += " " + e.Code
	}
	if e.Text != "" {
		s += " " + strconv.Quote(e.Text)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Attempts > 1 {
		s += fmt.Sprintf(" (%d attempts)", e.Attempts)
	}
	return s
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Reason is the condition reason: that of the cause, else "StorageError".
func (e *Error) Reason() string {
	var r interface{ Reason() string }
	if e.Err != nil && errors.As(e.Err, &r) {
		return r.Reason()
	}
	return "StorageError"
}

// Terminal is false: registries come back, and credentials change.
func (e *Error) Terminal() bool { return false }

// answered makes an error of an answer and closes its body.
func (r *Registry) answered(op, method string, resp *http.Response) *Error {
	defer resp.Body.Close() //nolint:errcheck // read as far as it is wanted
	e := &Error{Op: op, Status: resp.StatusCode, Attempts: 1}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Err = ErrUnauthorized
	case http.StatusNotFound:
		if method != http.MethodPost && method != http.MethodPut {
			e.Err = artifact.ErrNotFound
		}
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		e.Err = errors.ErrUnsupported
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.after = min(time.Duration(min(s, 1<<20))*time.Second, r.o.HTTP.RetryAfter)
	} else if t, err := http.ParseTime(resp.Header.Get("Retry-After")); err == nil {
		e.after = min(max(time.Until(t), 0), r.o.HTTP.RetryAfter)
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxError)) //nolint:forbidigo // limited
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(b, &doc) == nil && len(doc.Errors) > 0 {
		e.Code, e.Text = redact.Text(doc.Errors[0].Code, 64), redact.Text(doc.Errors[0].Message, 1024)
		if e.Code == "UNSUPPORTED" {
			e.Err = errors.ErrUnsupported
		}
	}
	return e
}

// failed makes an error of one without an answer. URLs in it lose what may
// be secret.
func failed(op string, err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = &url.Error{Op: ue.Op, URL: redact.URL(ue.URL), Err: ue.Err}
	}
	return &Error{Op: op, Attempts: 1, Err: err}
}

// refused reports whether the registry does not do this at all, or not for us.
func refused(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, ErrUnauthorized)
}

// retryable reports whether another attempt may help.
func retryable(err error) bool {
	var e *Error
	if errors.As(err, &e) && e.Status != 0 {
		switch e.Status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	var cert *tls.CertificateVerificationError
	for _, never := range []error{
		context.Canceled, netguard.ErrAddressBlocked, netguard.ErrRedirectBlocked, netguard.ErrInsecureCredentials, ErrRealmBlocked,
		ErrUnauthorized, artifact.ErrLimit,
	} {
		if errors.Is(err, never) {
			return false
		}
	}
	if errors.As(err, &cert) {
		return false
	}
	var ue *url.Error
	var ne net.Error
	return errors.Is(err, netguard.ErrStalled) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &ue) || errors.As(err, &ne)
}
