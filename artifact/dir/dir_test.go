// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dir_test

import (
	"testing"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/artifacttest"
	"github.com/gitops-kit/sdk/artifact/dir"
)

func open(t testing.TB, base string) *dir.Driver {
	t.Helper()
	d, err := dir.New(base, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// ART-34
func TestConformance(t *testing.T) {
	artifacttest.Run(t, func(tb testing.TB) artifact.Driver { return open(tb, tb.TempDir()) })
}
