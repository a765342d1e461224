// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

// The places at which crash tests may end the process. Those of the packs of a
// mirror are in packstore.
const (
	fpAfterResolve    = "git/after-resolve"        // a reference became a commit
	fpAfterPack       = "git/after-pack"           // a pack was received, nothing of it used
	fpBeforePublish   = "git/before-publish"       // before the files are renamed into place
	fpAfterCheckout   = "git/after-checkout"       // after it
	fpBeforeMeta      = "git/meta/before-rename"   // before a file of .git is renamed into place
	fpAfterMeta       = "git/meta/after-rename"    // after it
	fpBeforeIndex     = "git/before-index"         // before the index is renamed into place
	fpAfterIndex      = "git/after-index"          // after it
	fpPushBefore      = "git/push/before"          // before the commands and the pack go out
	fpPushSent        = "git/push/after-pack"      // the server has them, its report is not read
	fpPushReply       = "git/push/after-reply"     // the report is read, nothing of it noted
	fpMirrorFetched   = "git/mirror/after-fetch"   // the objects are there, the commit is not noted
	fpMirrorAdded     = "git/mirror/after-add"     // it is
	fpMirrorRemove    = "git/mirror/before-remove" // before a repository is renamed away
	fpMirrorRemoved   = "git/mirror/after-rename"  // between that and its deletion
	fpMirrorBeforeLog = "git/mirror/before-proof"  // before a proof of ancestry is written
	fpMirrorLogged    = "git/mirror/after-proof"   // after it
)
