// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tour_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/examples/internal/tour"
)

// The whole loop, end to end: every step of the demo verifies what it shows.
// WIRE-16, KUS-4, KUS-20
func TestTour(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane")
	}
	g := NewWithT(t)
	before, err := os.ReadDir(os.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	var out bytes.Buffer
	err = tour.Run(t.Context(), tour.Options{Out: &out})
	t.Log(out.String())
	g.Expect(err).NotTo(HaveOccurred())
	for _, line := range []string{"rollout healthy", "drift corrected", "nothing changed", "pruned", "the rest untouched", "Timeline"} {
		g.Expect(out.String()).To(ContainSubstring(line))
	}
	g.Expect(out.String()).NotTo(ContainSubstring("\x1b"), "plain output when not a terminal")
	after, err := os.ReadDir(os.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(demoDirs(after)).To(Equal(demoDirs(before)), "nothing is left behind")
}

func demoDirs(entries []os.DirEntry) int {
	n := 0
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "gitops-kit-demo-") {
			n++
		}
	}
	return n
}
