// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"golang.org/x/net/http2"
)

// isRefused reports whether the connection was never made.
func isRefused(err error) bool {
	var op *net.OpError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &op) && op.Op == "dial"
}

// retryable reports whether a request without a reply is worth repeating:
// every request here is idempotent.
func retryable(err error) bool {
	if isRefused(err) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	var goAway http2.GoAwayError //nolint:staticcheck // what client-go's transport returns
	var stream http2.StreamError
	if errors.As(err, &goAway) || errors.As(err, &stream) {
		return true
	}
	// net/http has its own copy of http2 with unexported types, whose only
	// trait is their text.
	text := err.Error()
	return strings.Contains(text, "http2: server sent GOAWAY") || strings.Contains(text, "http2: client connection lost") ||
		strings.Contains(text, "stream error:") || strings.Contains(text, "server closed idle connection")
}

// serverHiccup reports whether a 500 says that etcd lost its leader or timed
// out, which repeating heals. A webhook that is down, which is told in similar
// words, stays down.
func serverHiccup(body []byte) bool {
	if bytes.Contains(body, []byte("webhook")) {
		return false
	}
	for _, s := range [...]string{"etcdserver: leader changed", "etcdserver: request timed out", "etcdserver: no leader", "context deadline exceeded", "connection refused", "raft proposal dropped"} {
		if bytes.Contains(body, []byte(s)) {
			return true
		}
	}
	return false
}
