// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"

	"github.com/gitops-kit/sdk/testserver/internal/pstate"
)

// Errors of methods that change the life of a control plane.
var (
	// ErrStopped says that the control plane was stopped or killed.
	ErrStopped = errors.New("control plane is not running")
	errShared  = errors.New("not possible with a control plane that other tests share: use kube.Private")
)

// StopAPIServer ends the API server, as a crash or an upgrade would: clients
// lose their connections and are refused. The other components, the data, the
// port and the certificates stay. [Cluster.StartAPIServer] brings it back.
//
// This method and those below need a control plane of their own, from
// [Private] or [Run]. Their errors are returned, and fail the test of a Private
// control plane besides.
func (c *Cluster) StopAPIServer() error { return c.command("stop-apiserver") }

// StartAPIServer starts the API server again, and the whole control plane after
// [Cluster.Kill], and returns when it is ready. Watches resume where they were.
// An API server restarted in its process keeps about 60 MiB each time; after
// the third it runs in a process of its own.
func (c *Cluster) StartAPIServer() error {
	if !c.s.killed() {
		return c.command("start-apiserver")
	}
	if err := c.owned(); err != nil {
		return c.told(err)
	}
	port, err := c.s.port()
	if err != nil {
		return c.told(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandWait) //nolint:forbidigo // as commands of the process have no context either
	defer cancel()
	return c.told(c.s.start(ctx, port))
}

// Restart is StopAPIServer and StartAPIServer.
func (c *Cluster) Restart() error {
	if err := c.StopAPIServer(); err != nil {
		return err
	}
	return c.StartAPIServer()
}

// Pause stops the API server's process as it is: connections stay open, nothing
// answers. It returns when the process has stopped, where the system tells. It
// needs [Flags.Split].
func (c *Cluster) Pause() error {
	if err := c.command("pause kube-apiserver"); err != nil {
		return err
	}
	c.s.mu.Lock()
	pid := c.s.p.cmd.Process.Pid
	c.s.mu.Unlock()
	return c.told(pstate.AwaitStop(pstate.Children(pid)))
}

// Resume lets a paused API server go on.
func (c *Cluster) Resume() error { return c.command("resume kube-apiserver") }

// Compact drops the history of all objects and restarts the API server, so that
// every watch that resumes, and every list that continues, from a resource
// version it knew before gets 410 Gone.
func (c *Cluster) Compact() error {
	if err := c.StopAPIServer(); err != nil {
		return err
	}
	if err := c.command("compact"); err != nil {
		return err
	}
	return c.StartAPIServer()
}

// Kill ends all processes of the control plane at once, as a power cut would.
// [Cluster.StartAPIServer] starts it again with the same data and address.
func (c *Cluster) Kill() error {
	if err := c.owned(); err != nil {
		return c.told(err)
	}
	c.s.mu.Lock()
	p := c.s.p
	c.s.mu.Unlock()
	p.kill()
	return nil
}

func (c *Cluster) command(line string) error {
	if err := c.owned(); err != nil {
		return c.told(err)
	}
	c.s.mu.Lock()
	p := c.s.p
	c.s.mu.Unlock()
	return c.told(p.command(context.Background(), line)) //nolint:forbidigo // bounded by commandWait
}

// owned refuses what would disturb others.
func (c *Cluster) owned() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	switch {
	case c.s.dataDir == "":
		return errExisting
	case c.s.shared:
		return errShared
	case c.s.stopped:
		return ErrStopped
	}
	return nil
}

func (c *Cluster) told(err error) error {
	if err != nil && c.report != nil {
		c.report("kube: %v", err)
	}
	return err
}

// killed says whether the process is gone although nobody stopped it.
func (s *server) killed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.p == nil || s.stopped {
		return false
	}
	select {
	case <-s.p.done:
		return true
	default:
		return false
	}
}

// port is the API server's.
func (s *server) port() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := url.Parse(s.base.Host)
	if err != nil {
		return 0, err
	}
	_, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}
