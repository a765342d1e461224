// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

// Failpoints of the module, hit in builds with the tag failpoints.
const (
	failAfterMkdir    = "untar/after-mkdir"
	failAfterEntry    = "untar/after-entry"
	failBeforePublish = "untar/before-publish"
)
