// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package cel_test

import (
	"context"
	"fmt"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/cel"
)

func Example() {
	check := meta.CustomHealthCheck{APIVersion: "example.com/v1"}
	check.Current = "status.phase == 'Done'"
	health, err := cel.Health(check)
	if err != nil {
		fmt.Println(err)
		return
	}
	status, _, err := health(context.Background(), map[string]any{"status": map[string]any{"phase": "Done"}})
	fmt.Println(status, err)
	// Output: Current <nil>
}
