// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"io"
	"time"
)

// SetFirstByteWait shortens how long a client waits for the first byte.
func SetFirstByteWait(c *Client, d time.Duration) { c.firstByte = d }

// Patient exposes the clock of a reply.
type Patient struct{ *patient }

// NewPatient waits as an HTTP or SSH reply does, with the default limits.
func NewPatient(body io.ReadCloser) Patient {
	c := &Client{firstByte: firstByteWait, http: HTTPLimits{}.WithDefaults()}
	return Patient{c.newPatient(body, func() { _ = body.Close() })}
}

// NewPatientWindow waits so long for each KiB of a pack.
func NewPatientWindow(body io.ReadCloser, window time.Duration) Patient {
	return Patient{newPatient(body, firstByteWait, window, func() { _ = body.Close() })}
}

// PackBegins says that the pack has begun.
func (p Patient) PackBegins() { p.packBegins() }

// Asked says that another command was sent.
func (p Patient) Asked() { p.asked() }

// ParseKnownHosts exposes the parser to fuzzing: it returns the algorithms that
// a host is offered.
func ParseKnownHosts(b []byte, tempDir, host string) ([]string, error) {
	h, err := parseKnownHosts(b, tempDir)
	if err != nil {
		return nil, err
	}
	return h.algorithms(host), nil
}
