//go:build libgit2

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	git2go "github.com/libgit2/git2go/v34"
)

const haveGit2go = true

// libgit2 clones through git2go. libgit2 1.5 cannot fetch one commit alone: a
// checkout is a clone there.
func libgit2(_ context.Context, _, remote, dir, _ string) error {
	repo, err := git2go.Clone(remote, dir, &git2go.CloneOptions{
		CheckoutBranch:  "main",
		CheckoutOptions: git2go.CheckoutOptions{Strategy: git2go.CheckoutForce},
	})
	if err != nil {
		return err
	}
	repo.Free()
	return nil
}
