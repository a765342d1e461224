// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gitops-kit/sdk/runtime/manager"
)

func ExampleRun() {
	code := manager.Run(context.Background(), manager.Options{
		Name: "app-controller", Setup: func(manager.Kit) error { return nil },
		Args: []string{"--feature-gates=Unknown=true", "--interval-jitter-percentage=100"}, Stderr: os.Stdout,
	})
	fmt.Println("exit", code)
	// Output:
	// interval jitter 100: percentage must be at least 0 and below 100
	// feature-gate 'Unknown' not supported
	// exit 1
}
