// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package sign

// Guarded exposes what Verify runs in.
func Guarded(verify func() (*Result, error)) (*Result, error) { return guarded(verify) }
