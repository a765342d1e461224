// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import "context"

// Key returns the cache key of the code that Find would use from dir.
func Key(ctx context.Context, dir string) (string, error) {
	s, err := findSource(ctx, dir)
	if err != nil {
		return "", err
	}
	return s.key, nil
}

// DataDir is where the control plane keeps its files.
func (c *Cluster) DataDir() string { return c.s.dataDir }

// PID is the control plane's process.
func (c *Cluster) PID() int { return c.s.p.cmd.Process.Pid }

// Command sends a line to the control plane.
func (c *Cluster) Command(line string) error { return c.command(line) }
