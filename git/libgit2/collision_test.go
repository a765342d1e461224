//go:build failpoints

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package libgit2_test

import (
	"os"
	"testing"

	"github.com/gitops-kit/sdk/git/gittest"
	"github.com/gitops-kit/sdk/git/libgit2"
)

// GIT-28: what would be half of a SHA-1 collision is neither put nor taken from
// a pack. TestCollision of package git says what this proves.
func TestCollision(t *testing.T) {
	half, err := os.ReadFile("../internal/objhash/testdata/shattered-1.bin")
	if err != nil {
		t.Fatal(err)
	}
	gittest.RunCollision(t, libgit2.New(libgit2.Options{}), half)
}
