//go:build !libgit2

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
)

const haveGit2go = false

func libgit2(context.Context, string, string, string, string) error {
	return errors.New("built without the tag libgit2")
}
