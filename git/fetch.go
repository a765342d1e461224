// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/fail"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/git/internal/wire"
)

// errRefused marks a server that will not give out what was asked for.
var errRefused = errors.New("server refuses the object")

// receivePack runs one fetch and turns the answer into a pack.
func (c *Client) fetchPack(ctx context.Context, s *session, f wire.Fetch, dir string) (*packfile.Pack, error) {
	start := time.Now()
	p, n, err := c.receive(ctx, s, f, dir)
	c.observe(Event{Kind: "fetch", Protocol: s.protocol(), Bytes: n, Duration: time.Since(start), Err: err})
	return p, err
}

func (c *Client) receive(ctx context.Context, s *session, f wire.Fetch, dir string) (*packfile.Pack, int64, error) {
	a, r, err := s.fetch(ctx, f)
	if err != nil && s.believed && surprising(err) {
		// The server is not as remembered: ask it, then once more.
		s.c.pool.forget(s.c.memoryKeys())
		if derr := s.discover(ctx, nil); derr != nil {
			return nil, 0, derr
		}
		a, r, err = s.fetch(ctx, f)
	}
	if err != nil {
		return nil, 0, refusal(err)
	}
	defer r.close()
	p, err := packfile.Receive(ctx, a.Pack, packfile.Options{Format: s.format, Limits: c.opts.Limits.pack(), Dir: dir})
	n := r.body.received()
	s.received += n
	s.shallow = a.Shallow
	if err != nil {
		return nil, n, s.failed(err)
	}
	fail.Point(fpAfterPack)
	return p, n, nil
}

// refusal marks the answers of servers that do not give an object out.
func refusal(err error) error {
	var remote *RemoteError
	var status *statusError // there are servers that fail where they should refuse
	if errors.As(err, &remote) || errors.Is(err, io.ErrUnexpectedEOF) && !isLost(err) || errors.As(err, &status) && status.status == http.StatusInternalServerError {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return err
}

// depth is the depth to ask for: none where the server cannot.
func (s *session) depth(n int) int {
	if s.version == 2 && !s.caps.HasIn("fetch", "shallow") || s.version != 2 && !s.caps.Has("shallow") {
		return 0
	}
	return n
}

// filters reports whether the server filters objects.
func (s *session) filters() bool {
	if s.version == 2 {
		return s.caps.HasIn("fetch", "filter")
	}
	return s.caps.Has("filter")
}

// readCommit reads and parses a commit.
func readCommit(r objectReader, id Hash, maxMeta int64) (*object.Commit, error) {
	t, size, err := r.stat(id)
	if err != nil {
		return nil, err
	}
	if t != driver.Commit {
		return nil, fmt.Errorf("%s is a %s: %w", id, t, ErrNotACommit)
	}
	if err := limits.Check("git-meta", maxMeta, size); err != nil {
		return nil, err
	}
	_, raw, err := r.get(id)
	if err != nil {
		return nil, err
	}
	return object.ParseCommit(id, raw)
}
