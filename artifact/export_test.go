// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

// Noted counts the files and objects of which something is noted.
func (s *Store) Noted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.orphans)
	for _, files := range s.seen {
		n += len(files)
	}
	return n
}
