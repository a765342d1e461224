// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package objhash

// StartRaw begins a stream without the header of an object.
func (s *Hasher) StartRaw() { s.h.Reset() }
