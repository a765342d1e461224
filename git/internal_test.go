// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
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

// SSHSlot exposes the connections of one key, with the intervals of a new pool.
type SSHSlot struct{ *sshSlot }

// NewSSHSlot returns an empty slot.
func NewSSHSlot() SSHSlot { return SSHSlot{NewPool().slot(sshKey{})} }

// Acquire takes a place; pipe makes a connection when one is due.
func (s SSHSlot) Acquire(ctx context.Context, cfg *ssh.ClientConfig, pipe func() net.Conn) (fresh bool, release func(), err error) {
	conn, fresh, err := s.acquire(ctx, func() (*ssh.Client, *meter, error) {
		m := &meter{Conn: pipe()}
		c, chans, reqs, err := ssh.NewClientConn(m, "", cfg)
		if err != nil {
			return nil, nil, err
		}
		return ssh.NewClient(c, chans, reqs), m, nil
	})
	if err != nil {
		return false, nil, err
	}
	return fresh, func() { s.release(conn, false) }, nil
}

// Close ends all connections.
func (s SSHSlot) Close() error { return s.close() }

// Flights counts the listings that a mirror shares and the callers that wait
// for one, or for a commit.
func Flights(m *Mirror) (lists, waiting int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.lists {
		waiting += f.waiters
	}
	for _, r := range m.repos {
		for _, f := range r.flights {
			waiting += f.waiters
		}
	}
	return len(m.lists), waiting
}
