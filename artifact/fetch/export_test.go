// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"io"
	"time"

	"github.com/gitops-kit/sdk/untar/digest"
)

// SetHook sets what is called before each operation on an entry.
func SetHook(c *Cache, f func(op, name string)) { c.hook = f }

// RememberBad sets how long a mismatch is remembered.
func RememberBad(c *Cache, d time.Duration) { c.badFor = d }

// Waiting counts those who wait for the download of a digest.
func Waiting(c *Cache, sum string) int {
	id, err := digest.Parse(sum)
	if err != nil {
		return -1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[id]; f != nil {
		return f.waiters
	}
	return 0
}

// LockLeft locks a private directory that was left behind, if it was.
func LockLeft(dir string) (io.Closer, error) {
	f, err := lockLeft(dir)
	if f == nil {
		return nil, err
	}
	return f, err
}
