// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package probes_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/gitops-kit/sdk/runtime/probes"
)

func Example() {
	var ready probes.Set
	fmt.Println(ready.Run(context.Background()))
	ready.Add("cache", func(context.Context) error { return errors.New("not synced") })
	fmt.Println(ready.Run(context.Background()))
	// Output:
	// <nil>
	// check cache: not synced
}
