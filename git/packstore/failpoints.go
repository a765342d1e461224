// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packstore

// The places at which crash tests may end the process.
const (
	fpBeforePublish  = "git/mirror/before-publish"  // pack and index are on disk under other names
	fpBetweenRenames = "git/mirror/between-renames" // the index has its name
	fpAfterPublish   = "git/mirror/after-publish"   // so has the pack; the directory is not synced
	fpBeforeLoose    = "git/loose/before-rename"    // before a single object gets its name
	fpAfterLoose     = "git/loose/after-rename"     // after it
)
