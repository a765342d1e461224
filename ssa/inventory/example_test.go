// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory_test

import (
	"context"
	"fmt"

	"github.com/gitops-kit/sdk/ssa/inventory"
)

func ExampleLedger() {
	ctx := context.Background()
	store := inventory.NewMemory(inventory.Set{})
	ledger := inventory.NewLedger(store)

	web := inventory.Item{ID: inventory.ID{Namespace: "shop", Name: "web", Group: "apps", Kind: "Deployment"}, Version: "v1"}
	if err := ledger.Begin(ctx, inventory.NewSet(web)); err != nil { // before the first write
		fmt.Println(err)
	}
	if err := ledger.Commit(ctx, inventory.NewSet(web), inventory.Set{}); err != nil { // after the last
		fmt.Println(err)
	}
	for id, version := range ledger.Set().Entries() {
		fmt.Println(id, version)
	}
	// Output: shop_web_apps_Deployment v1
}
