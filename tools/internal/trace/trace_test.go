// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"slices"
	"testing"

	"github.com/gitops-kit/sdk/tools/internal/trace"
)

func TestNamed(t *testing.T) {
	cases := map[string]struct {
		text string
		want []string
	}{
		"One":     {"SSA-12", []string{"SSA-12"}},
		"Several": {"TAR-1, TAR-2a and N08", []string{"TAR-1", "TAR-2a", "N08"}},
		"Range":   {"GIT-40…42", []string{"GIT-40", "GIT-41", "GIT-42"}},
		"Padded":  {"N08…10", []string{"N08", "N09", "N10"}},
		"Letters": {"GIT-T13 proves it", []string{"GIT-T13"}},
		"None":    {"SHA-X, HTTP", nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := trace.Named(tc.text); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
