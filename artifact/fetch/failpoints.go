// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

// Failpoints of the package, hit in builds with the tag failpoints.
const (
	failLock   = "artifact/cache-lock"   // between making and locking a lock file
	failRemove = "artifact/cache-remove" // before a private directory that was left behind is removed
)
