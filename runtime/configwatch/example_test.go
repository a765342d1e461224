// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package configwatch_test

import (
	"fmt"

	"github.com/gitops-kit/sdk/runtime/configwatch"
	"github.com/spf13/pflag"
)

func Example() {
	var f configwatch.Flags
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.AddFlags(fs)
	_ = fs.Parse([]string{"--watch-label-selector=sharding.fluxcd.io/key=shard1"})
	fmt.Println(f.AllNamespaces, f.Selector, f.ConfigSelector, f.Validate())
	// Output: true sharding.fluxcd.io/key=shard1 reconcile.fluxcd.io/watch=Enabled <nil>
}
