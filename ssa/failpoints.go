// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

// The places at which crash tests may end the process.
const (
	fpLedgerBegin    = "ssa/ledger/begin"          // before the write-ahead record
	fpLedgerBegun    = "ssa/ledger/begun"          // after it
	fpLedgerCommit   = "ssa/ledger/commit"         // before the final record
	fpLedgerDone     = "ssa/ledger/committed"      // after it
	fpRank           = "ssa/rank"                  // before the writes of a rank
	fpWrite          = "ssa/write"                 // after each write
	fpTakeover       = "ssa/takeover/after-patch"  // between patch and apply
	fpRecreateDelete = "ssa/recreate/after-delete" // between deletion and creation
	fpPruneEach      = "ssa/prune/each"            // before each deletion
	fpPruned         = "ssa/prune/after-each"      // after each deletion
	fpChunkWrite     = "ssa/chunk/write"           // after each chunk of an inventory
	fpChunkHead      = "ssa/chunk/head"            // after the head that names the chunks
	fpChunkDelete    = "ssa/chunk/delete"          // before each deletion of an old chunk
	fpWaitStart      = "ssa/wait/start"            // before the first request of a wait
)
