// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package features_test

import (
	"fmt"

	"github.com/gitops-kit/sdk/runtime/features"
)

func Example() {
	values, _ := features.Parse("Fast=true")
	set, err := features.New([]features.Gate{{Name: "Fast"}, {Name: "Safe", Default: true}}, values)
	fmt.Println(set, err)
	_, err = features.New(nil, values)
	fmt.Println(err)
	// Output:
	// Fast=true,Safe=true <nil>
	// feature-gate 'Fast' not supported
}
