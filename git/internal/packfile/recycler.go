// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import "math/bits"

// recycler gives out buffers for objects of up to largeObject, and takes them
// back, so that resolving a pack leaves little for the garbage collector.
type recycler struct {
	free [21][][]byte // by the power of two that they have room for
	held int64
}

// recyclerBudget bounds what lies idle.
const recyclerBudget = 2 << 20

func class(size int64) int { return bits.Len64(uint64(max(size, 64) - 1)) } //nolint:gosec // positive

// take returns an empty buffer with room for size bytes, at most largeObject.
func (r *recycler) take(size int64) []byte {
	c := class(size)
	if l := r.free[c]; len(l) > 0 {
		b := l[len(l)-1]
		r.free[c] = l[:len(l)-1]
		r.held -= int64(cap(b))
		return b
	}
	return make([]byte, 0, 1<<c)
}

// give takes a buffer back, which nobody may use from now on.
func (r *recycler) give(b []byte) {
	if cap(b) == 0 || cap(b) > largeObject || r.held+int64(cap(b)) > recyclerBudget {
		return
	}
	c := class(int64(cap(b)))
	if 1<<c != cap(b) {
		return
	}
	r.held += int64(cap(b))
	r.free[c] = append(r.free[c], b[:0])
}
