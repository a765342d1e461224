// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"errors"
	"fmt"

	"github.com/gitops-kit/sdk/artifact/internal/limits"
	"github.com/gitops-kit/sdk/artifact/internal/netguard"
	"github.com/gitops-kit/sdk/untar/digest"
)

type sentinel struct {
	text, reason string
	terminal     bool
}

func (s *sentinel) Error() string  { return s.text }
func (s *sentinel) Reason() string { return s.reason }
func (s *sentinel) Terminal() bool { return s.terminal }

// What fetching can fail for. Test with errors.Is.
var (
	// ErrNotFound: the server has no such file, which means "not yet", never
	// "deleted".
	ErrNotFound error = &sentinel{"artifact not found", "ArtifactNotFound", false} //nolint:gochecknoglobals // sentinel
	// ErrDigestMismatch: the bytes are not those of the digest. Details are in
	// a [*DigestError].
	ErrDigestMismatch error = &sentinel{"digest mismatch", "VerificationFailed", false} //nolint:gochecknoglobals // sentinel
	// ErrSizeMismatch: the length is not the expected one.
	ErrSizeMismatch error = &sentinel{"size mismatch", "VerificationFailed", false} //nolint:gochecknoglobals // sentinel
	// ErrInvalidURL: not an absolute http or https URL.
	ErrInvalidURL error = &sentinel{"invalid URL", "VerificationFailed", true} //nolint:gochecknoglobals // sentinel
	// ErrResponse: an answer that HTTP or this client does not allow, as a
	// content encoding that was not asked for.
	ErrResponse error = &sentinel{"invalid response", "FetchFailed", false} //nolint:gochecknoglobals // sentinel
	// ErrClosed: the cache was closed.
	ErrClosed error = &sentinel{"cache is closed", "FetchFailed", false} //nolint:gochecknoglobals // sentinel

	// ErrUnsupportedDigest: malformed digest or unknown algorithm.
	ErrUnsupportedDigest = digest.ErrUnsupported
	// ErrLimit matches every [LimitError].
	ErrLimit = limits.ErrLimit //nolint:errname // a sentinel shared by all modules
	// ErrStalled: less than 1 KiB arrived within the stall time.
	ErrStalled = netguard.ErrStalled
	// ErrRedirectBlocked: a redirect that the policy refuses.
	ErrRedirectBlocked = netguard.ErrRedirectBlocked
	// ErrAddressBlocked: an address that the policy refuses.
	ErrAddressBlocked = netguard.ErrAddressBlocked
)

// LimitError names the limit that was exceeded.
type LimitError = limits.LimitError

// NetPolicy restricts the addresses that are connected to.
type NetPolicy = netguard.Policy

// HTTPLimits bound how long a server may take.
type HTTPLimits = netguard.HTTPLimits

// DigestError has both digests.
type DigestError struct {
	// Want and Got are the expected digest and that of the bytes.
	Want, Got string
	// Bytes is how many bytes were hashed.
	Bytes int64
}

// Error names both digests.
func (e *DigestError) Error() string {
	return fmt.Sprintf("%v: want %s, got %s over %d bytes", ErrDigestMismatch, e.Want, e.Got, e.Bytes)
}

// Unwrap returns [ErrDigestMismatch].
func (e *DigestError) Unwrap() error { return ErrDigestMismatch }

// Reason is the condition reason for the error.
func (e *DigestError) Reason() string { return "VerificationFailed" }

// Terminal is false: the server may be about to have the right bytes.
func (e *DigestError) Terminal() bool { return false }

// StatusError is an answer with a status that is neither success nor "not
// found".
type StatusError struct {
	// Code is the HTTP status.
	Code int
}

// Error names the status.
func (e *StatusError) Error() string { return fmt.Sprintf("server answered with status %d", e.Code) }

// Reason is the condition reason for the error.
func (e *StatusError) Reason() string { return "FetchFailed" }

// Terminal is false: the server may change its mind.
func (e *StatusError) Terminal() bool { return false }

// Error says what was being fetched.
type Error struct {
	// URL has no userinfo, query and fragment.
	URL string
	// Err is the reason.
	Err error
}

// Error names the URL and the reason.
func (e *Error) Error() string { return fmt.Sprintf("fetch %q: %v", e.URL, e.Err) }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Reason is the condition reason of the cause; "FetchFailed" if it has none.
func (e *Error) Reason() string {
	var r interface{ Reason() string }
	if errors.As(e.Err, &r) {
		return r.Reason()
	}
	return "FetchFailed"
}

// Terminal reports whether trying again is pointless.
func (e *Error) Terminal() bool {
	var t interface{ Terminal() bool }
	return errors.As(e.Err, &t) && t.Terminal()
}
