// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"fmt"
	"time"

	"github.com/gitops-kit/sdk/runtime/metrics"
	"github.com/prometheus/client_golang/prometheus"
)

func Example() {
	reg := prometheus.NewRegistry()
	m, err := metrics.New(reg, metrics.Options{})
	m.Reconcile("App", "default", "web", time.Second)
	families, _ := reg.Gather()
	for _, f := range families {
		if f.GetName() == "gotk_reconcile_duration_seconds" {
			fmt.Println(f.GetName(), len(f.GetMetric()), err)
		}
	}
	// Output: gotk_reconcile_duration_seconds 1 <nil>
}
