// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"testing"
)

// cleanup runs f after the test. Its error does not matter: the object may be
// gone, or the API server stopped by the test.
func (c *Cluster) cleanup(t testing.TB, f func() error) {
	t.Helper()
	t.Cleanup(func() { _ = f() })
}

// cleanupContext outlives the test for a moment.
func cleanupContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), cleanupWait)
	t.Cleanup(cancel)
	return ctx
}
