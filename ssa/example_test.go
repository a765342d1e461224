// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gitops-kit/sdk/ssa"
	"k8s.io/client-go/rest"
)

func ExampleReadObjects() {
	objects, err := ssa.ReadObjects(strings.NewReader(`
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
`), ssa.ReadOptions{})
	if err != nil {
		fmt.Println(err)
	}
	for _, o := range objects {
		fmt.Println(ssa.IDOf(o).Display())
	}
	// Output:
	// Namespace/shop
	// ConfigMap/shop/settings
}

func ExampleParseBudget() {
	b, err := ssa.ParseBudget("10/20%")
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(b.Exceeded(11, 100), b.Exceeded(21, 100))
	// Output: false true
}

func ExampleGraph() {
	var g ssa.Graph[string]
	g.Need("web", "database")
	g.Need("database", "disk")
	waves, err := g.Order()
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(waves)
	// Output: [[disk] [database] [web]]
}

// apply brings the objects of a reader to the cluster and waits for them.
func apply(ctx context.Context, cfg *rest.Config, manifests io.Reader) error {
	objects, err := ssa.ReadObjects(manifests, ssa.ReadOptions{})
	if err != nil {
		return err
	}
	cluster, err := ssa.NewCluster(cfg, ssa.ClusterOptions{})
	if err != nil {
		return err
	}
	m, err := ssa.NewManager(cluster, ssa.Options{Owner: ssa.Owner{FieldManager: "shop-controller", LabelGroup: "shop.example.com", Name: "shop"}})
	if err != nil {
		return err
	}
	plan, err := m.Plan(ctx, objects, ssa.PlanOptions{})
	if err != nil {
		return err // one *ssa.ObjectError for each object that cannot be applied
	}
	fmt.Print(plan.Diff(ssa.DiffOptions{}))
	result, err := m.Apply(ctx, plan, ssa.ApplyOptions{})
	fmt.Print(result) // also when it failed half-way
	if err != nil {
		return err
	}
	_, err = m.Wait(ctx, result.Targets(), ssa.WaitOptions{})
	return err
}

func ExampleManager() {
	cfg, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		fmt.Println("run this in a cluster")
		return
	}
	if err := apply(context.Background(), cfg, os.Stdin); err != nil {
		fmt.Println(err)
	}
}
