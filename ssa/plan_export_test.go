// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import "encoding/binary"

// Slowed reports whether we slow ourselves down for a cluster.
func Slowed(c Cluster) bool {
	r, ok := c.(*restCluster)
	return ok && r.qps.Load() != nil
}

// Remember has a memo remember the n-th object in a state; Remembered asks.
func Remember(m *Memo, n, state uint64) { m.store(memoDigest(n), memoDigest(state)) }

// Remembered asks a memo for the n-th object in a state.
func Remembered(m *Memo, n, state uint64) bool { return m.knows(memoDigest(n), memoDigest(state)) }

func memoDigest(n uint64) (d digest) {
	binary.LittleEndian.PutUint64(d[:], n*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(d[8:], n)
	return d
}

// Sorted ranks and sorts entries of the given kinds, as a plan does.
func Sorted(entries []Entry) {
	stages := DefaultStages()
	for i := range entries {
		e := &entries[i]
		e.Stage, e.Rank = stageOf(stages, groupKind(e.ID)), rankOf(groupKind(e.ID))
	}
	sortEntries(entries)
}
