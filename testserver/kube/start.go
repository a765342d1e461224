// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// registry holds the control planes that the tests of this process share.
type registry struct {
	mu      sync.Mutex
	servers []*server
}

var shared registry //nolint:gochecknoglobals // one control plane per test binary is the point

// Start returns a control plane shared by the tests of a package that ask for
// the same: the first call starts it, and it ends with the test binary. The
// definitions in o are installed. Without a control plane the test is skipped
// with the command that builds one, or fails where CI=true or
// GITOPS_KIT_NO_SKIP=1; with -short it is skipped.
func Start(tb testing.TB, o Options) *Cluster {
	tb.Helper()
	skipShort(tb)
	ctx, cancel := testContext(tb)
	defer cancel()
	s, err := shared.get(ctx, o)
	check(tb, err)
	return attach(tb, ctx, s, o)
}

// Private returns a control plane of the test's own, for tests that stop or
// restart it or need flags; it ends with the test.
func Private(tb testing.TB, o Options) *Cluster {
	tb.Helper()
	skipShort(tb)
	ctx, cancel := testContext(tb)
	defer cancel()
	s, err := newServer(ctx, o)
	check(tb, err)
	tb.Cleanup(s.stop)
	return attach(tb, ctx, s, o)
}

func attach(tb testing.TB, ctx context.Context, s *server, o Options) *Cluster { //nolint:revive // t first, as everywhere here
	tb.Helper()
	c := &Cluster{s: s, agent: userAgent(tb.Name()), report: tb.Errorf}
	tb.Cleanup(func() { c.diagnose(tb) })
	if err := c.installAll(ctx, o, tb.Name()); err != nil {
		tb.Fatalf("kube: %v", err)
	}
	return c
}

// get returns a running control plane that serves o, or starts one. Calls at
// the same time wait for each other: one process is started, not two.
func (r *registry) get(ctx context.Context, o Options) (*server, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.servers {
		if s.alive() && s.o.serves(o) {
			return s, nil
		}
	}
	s, err := newServer(ctx, o)
	if err != nil {
		return nil, err
	}
	s.shared = true
	r.servers = append(r.servers, s)
	return s, nil
}

func (s *server) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.p == nil {
		return true
	}
	select {
	case <-s.p.done:
		return false
	default:
		return !s.stopped
	}
}

func skipShort(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("kube: no control plane with -short")
	}
}

// check ends the test on err: skipped if there is no program to run and that
// may be so here, failed otherwise.
func check(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrUnavailable) && os.Getenv("CI") != "true" && os.Getenv("GITOPS_KIT_NO_SKIP") != "1":
		tb.Skipf("kube: %v", err)
	default:
		tb.Fatalf("kube: %v", err)
	}
}

// testContext ends shortly before the test's deadline.
func testContext(tb testing.TB) (context.Context, context.CancelFunc) {
	tb.Helper()
	d, ok := tb.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return context.WithCancel(tb.Context())
	}
	deadline, ok := d.Deadline()
	if !ok {
		return context.WithCancel(tb.Context())
	}
	return context.WithDeadline(tb.Context(), deadline.Add(-2*time.Second))
}

// maxAgent bounds the user agent, so that it fits in every log line.
const maxAgent = 128

// userAgent turns a test's name into a header value.
func userAgent(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r
		}
		return '_'
	}, name)
	return clean[:min(len(clean), maxAgent)]
}
