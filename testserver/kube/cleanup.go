// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"testing"
)

// cleanup runs f after the test. Its error does not matter: the object may be
// gone, or the API server stopped by the test.
func (c *Cluster) cleanup(tb testing.TB, f func() error) {
	tb.Helper()
	tb.Cleanup(func() { _ = f() })
}

// cleanupContext outlives the test for a moment.
func cleanupContext(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), cleanupWait)
	tb.Cleanup(cancel)
	return ctx
}
