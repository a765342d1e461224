// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile_test

import (
	"context"
	"fmt"

	"github.com/gitops-kit/sdk/runtime/internal/testapi"
	"github.com/gitops-kit/sdk/runtime/reconcile"
)

func ExampleDo() {
	type step = reconcile.Step[*testapi.App]
	res, err := reconcile.Do(context.Background(), &testapi.App{},
		step{Name: "fetch", Run: func(context.Context, *testapi.App) (reconcile.Result, error) { return reconcile.Result{}, nil }},
		step{Name: "build", Run: func(context.Context, *testapi.App) (reconcile.Result, error) {
			return reconcile.Result{}, reconcile.Waiting("source has no artifact yet")
		}},
		step{Name: "apply", Run: func(context.Context, *testapi.App) (reconcile.Result, error) { panic("not reached") }},
	)
	fmt.Println(res.Done, err)
	// Output: false source has no artifact yet
}
