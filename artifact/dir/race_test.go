// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dir_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
)

// The last object of a namespace goes, and its directories with it,
// while the first file of another one is written there.
func TestPutWhileDirectoriesGo(t *testing.T) {
	g := NewWithT(t)
	d := open(t, t.TempDir())
	other := artifact.Key{Kind: "kind", Namespace: "ns", Name: "other", File: "file"}
	_, err := d.Put(t.Context(), other, strings.NewReader("x"))
	g.Expect(err).NotTo(HaveOccurred())
	times := 0
	dir.SetHook(d, func(op, name string) error {
		if op == "mkdir" && name == "kind/ns/name" {
			if times++; times == 1 {
				return d.Delete(t.Context(), other)
			}
		}
		return nil
	})
	_, err = d.Put(t.Context(), key, strings.NewReader("text"))
	g.Expect(err).NotTo(HaveOccurred())
	dir.SetHook(d, nil)
	g.Expect(times).To(Equal(2))
	files, err := d.List(t.Context(), key)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(HaveLen(1))
}
