// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package object_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/object"
	. "github.com/onsi/gomega"
)

// A header of very many continuation lines costs memory in proportion
// to its length, and has its value.
func TestContinuedHeader(t *testing.T) {
	g := NewWithT(t)
	const lines = 50_000
	raw := "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\ngpgsig x\n" +
		strings.Repeat(" y\n", lines) + "\nm"
	id, err := driver.ParseHash("4b825dc642cb6eb9a060e54bf8d69288fbee4904")
	g.Expect(err).NotTo(HaveOccurred())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, err := object.ParseCommit(id, []byte(raw))
	runtime.ReadMemStats(&after)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(c.Sig)).To(Equal("x" + strings.Repeat("\ny", lines)))
	g.Expect(after.TotalAlloc - before.TotalAlloc).To(BeNumerically("<", 20*len(raw)))
}
