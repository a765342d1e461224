// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package libgit2_test

import (
	"flag"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/gittest"
	"github.com/gitops-kit/sdk/git/libgit2"
)

var update = flag.Bool("update", false, "rewrite the table of the matrix")

// GIT-100, GIT-101, GIT-102
func TestConformance(t *testing.T) {
	var all []*libgit2.Driver
	t.Run("Suite", func(t *testing.T) {
		gittest.Run(t, func(testing.TB) driver.Driver {
			d := libgit2.New(libgit2.Options{})
			all = append(all, d)
			return d
		})
	})
	for _, d := range all {
		if n := d.Handles(); n != 0 {
			t.Errorf("%d C handles were not freed", n)
		}
	}
}

// GIT-T1, GIT-100, GIT-102: every server over every transport.
func TestMatrix(t *testing.T) {
	d := libgit2.New(libgit2.Options{})
	places := append(gittest.Places(), gittest.BuildPlaces(t, "../gittest/testdata/gogit6")...)
	gittest.CheckMatrix(t, "MATRIX.md", gittest.RunMatrix(t, map[string]driver.Driver{"libgit2": d}, places), *update)
	if n := d.Handles(); n != 0 {
		t.Errorf("%d C handles were not freed", n)
	}
}
