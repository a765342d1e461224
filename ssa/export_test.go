// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import "context"

// NewLimiter exposes the limiter of requests.
func NewLimiter(ceiling int) (acquire func(context.Context) error, release func(), waiting func() int) {
	l := newLimiter(ceiling)
	return l.acquire, func() { l.release(0, false) }, func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.waiting)
	}
}
