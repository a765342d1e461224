// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/controllers/kustomize"
)

func TestBuildsAreKeptWithinBounds(t *testing.T) {
	g := NewWithT(t)
	var r kustomize.Results
	const quarter = kustomize.ResultBytes / 4
	for _, uid := range []string{"a", "b", "c", "d"} {
		r.Put(uid, quarter)
	}
	g.Expect(r.Has("a")).To(BeTrue())
	r.Put("e", quarter) // b is the least recently used
	g.Expect(r.Has("b")).To(BeFalse())
	g.Expect(r.Has("a")).To(BeTrue())
	r.Put("a", 1) // replaces, and makes room
	r.Put("f", quarter)
	g.Expect(r.Has("a")).To(BeTrue())
	g.Expect(r.Has("f")).To(BeTrue())
	r.Put("g", quarter+1)
	g.Expect(r.Has("g")).To(BeFalse(), "too large for the cache")
}
