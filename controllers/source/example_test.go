// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"fmt"

	v1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/controllers/source"
	"github.com/gitops-kit/sdk/git"
)

// An engine's error becomes a condition by its type.
func ExampleReason() {
	condition, reason, class := source.Reason(source.StepFetch, &git.Error{Op: "resolve", Ref: "main", Err: git.ErrEmptyRepository})
	fmt.Println(condition, reason, class == source.Generic)

	o := &v1.GitRepository{}
	fmt.Println(source.ReferenceOf(o).Branch)
	// Output:
	// FetchFailed EmptyGitRepository true
	// master
}
