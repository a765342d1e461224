// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dependency_test

import (
	"fmt"

	"github.com/gitops-kit/sdk/runtime/dependency"
)

func Example() {
	t := dependency.New(dependency.Options{})
	a, b := dependency.Ref{Kind: "App", Namespace: "x", Name: "a"}, dependency.Ref{Kind: "App", Namespace: "x", Name: "b"}
	t.Set(a, []dependency.Ref{b}, false)
	t.Set(b, []dependency.Ref{a}, false)
	fmt.Println(t.Cycle(a))
	// Output: dependency cycle: App/x/a → App/x/b → App/x/a
}
