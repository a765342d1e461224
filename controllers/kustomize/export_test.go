// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import "k8s.io/apimachinery/pkg/types"

// Results is the cache of builds, for tests.
type Results struct{ r results }

// Put keeps a build of a size.
func (r *Results) Put(uid string, bytes int64) {
	r.r.put(&result{uid: types.UID(uid), bytes: bytes})
}

// Has reports whether a build is kept, and marks it as used.
func (r *Results) Has(uid string) bool { return r.r.get(types.UID(uid)) != nil }

// ResultBytes is the bound of the cache.
const ResultBytes = resultBytes
