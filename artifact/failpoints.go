// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

// Failpoints of the module, hit in builds with the tag failpoints. Those of
// the local driver are constants of its package with the same prefix.
const (
	failBeforeGC = "artifact/before-gc"
	failSweep    = "artifact/sweep"
)
