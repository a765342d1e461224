// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitmodules_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/internal/gitmodules"
	. "github.com/onsi/gomega"
)

// GIT-60: long words cost memory in proportion to their length.
func TestLongWords(t *testing.T) {
	for name, in := range map[string]string{
		"Section": "[" + strings.Repeat("a", 100_000) + "]\n",
		"Key":     "[submodule \"x\"]\n" + strings.Repeat("a", 100_000) + " = b\n",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := gitmodules.Parse([]byte(in))
			runtime.ReadMemStats(&after)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(after.TotalAlloc - before.TotalAlloc).To(BeNumerically("<", 20*len(in)))
		})
	}
}
