// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry_test

import (
	"context"
	"fmt"

	"github.com/gitops-kit/sdk/runtime/telemetry"
)

func Example() {
	hook := telemetry.Hook{Start: func(ctx context.Context, name string, attrs ...telemetry.Attr) (context.Context, func(error)) {
		fmt.Println("start", name, attrs[0].Value)
		return ctx, func(err error) { fmt.Println("end", name, err) }
	}}
	_, end := hook.Span(context.Background(), "step fetch", telemetry.String(telemetry.Kind, "App"))
	end(nil)
	// Output:
	// start step fetch App
	// end step fetch <nil>
}
