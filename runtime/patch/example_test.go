// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package patch_test

import (
	"fmt"

	"github.com/gitops-kit/sdk/runtime/internal/testapi"
	"github.com/gitops-kit/sdk/runtime/patch"
)

func ExampleChanged() {
	base, obj := &testapi.App{}, &testapi.App{}
	fmt.Println(patch.Changed(base, obj))
	obj.Status.Revision = "main@sha1:a"
	fmt.Println(patch.Changed(base, obj))
	// Output:
	// false <nil>
	// true <nil>
}
