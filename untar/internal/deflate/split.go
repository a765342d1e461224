// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package deflate

const (
	splitWindow   = 512   // tokens between two looks
	splitMinBytes = 10000 // a block shorter than this is not worth its trees
	splitKinds    = 10    // eight kinds of literal, short and long match
)

// splitter notices that the mix of tokens changed, so that a new block with
// trees of its own pays. It compares the last window with all before it.
type splitter struct {
	past, recent           [splitKinds]uint32
	pastTotal, recentTotal uint32
}

func (s *splitter) literal(b byte) {
	s.recent[b>>5&6|b&1]++
	s.recentTotal++
}

func (s *splitter) match(length int) {
	kind := 8
	if length >= 9 {
		kind = 9
	}
	s.recent[kind]++
	s.recentTotal++
}

// split reports whether the block of size bytes should end here.
func (s *splitter) split(size int) bool {
	if s.recentTotal < splitWindow {
		return false
	}
	changed := false
	if s.pastTotal > 0 && size >= splitMinBytes {
		var delta uint64
		for i := range s.past {
			expected := uint64(s.past[i]) * uint64(s.recentTotal)
			actual := uint64(s.recent[i]) * uint64(s.pastTotal)
			if expected > actual {
				delta += expected - actual
			} else {
				delta += actual - expected
			}
		}
		// The longer the block, the smaller the change that pays.
		threshold := uint64(s.recentTotal) * uint64(s.pastTotal) * 180 / 512
		bonus := uint64(size/4096) * uint64(s.pastTotal)
		changed = delta+bonus >= threshold
	}
	if !changed {
		for i := range s.past {
			s.past[i] += s.recent[i]
			s.recent[i] = 0
		}
		s.pastTotal += s.recentTotal
		s.recentTotal = 0
	}
	return changed
}
