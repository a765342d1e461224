// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dir

// Failpoints of the module, hit in builds with the tag failpoints.
const (
	failAfterTemp     = "artifact/after-temp"
	failAfterSync     = "artifact/after-sync"
	failAfterRename   = "artifact/after-rename"
	failAfterDirSync  = "artifact/after-dirsync"
	failAfterLink     = "artifact/after-link"
	failGCAfterDelete = "artifact/gc/after-delete"
)
