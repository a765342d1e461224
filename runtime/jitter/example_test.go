// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package jitter_test

import (
	"fmt"
	"time"

	"github.com/gitops-kit/sdk/runtime/jitter"
)

func Example() {
	i, err := jitter.New(10)
	d := i.Apply(time.Hour)
	fmt.Println(d >= 54*time.Minute && d <= 66*time.Minute, err)
	// Output: true <nil>
}
