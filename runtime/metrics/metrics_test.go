// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/runtime/metrics"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func series(g *WithT, reg *prometheus.Registry) (total int, byName map[string]int) {
	families, err := reg.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	byName = map[string]int{}
	for _, f := range families {
		n := len(f.GetMetric())
		if f.GetMetric()[0].GetHistogram() != nil {
			n *= len(f.GetMetric()[0].GetHistogram().GetBucket()) + 2 // count and sum
		}
		byName[f.GetName()] = n
		total += n
	}
	return total, byName
}

// RT-70, RT-71, T78: names and cardinality; back to the baseline after deletion.
func TestCardinality(t *testing.T) {
	g := NewWithT(t)
	reg := prometheus.NewRegistry()
	m, err := metrics.New(reg, metrics.Options{State: true})
	g.Expect(err).NotTo(HaveOccurred())
	base, _ := series(g, reg)
	for i := range 1000 {
		name := fmt.Sprint("app", i, "\n\"")
		m.Reconcile("App", "ns", name, time.Second)
		m.State("App", "ns", name, []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue}}, false)
		m.InventoryBytes("App", "ns", name, 10)
		m.TokenCacheEvent("cache_hit", "App", "ns", name, "op")
	}
	full, byName := series(g, reg)
	g.Expect(byName["gotk_reconcile_duration_seconds"]).To(Equal(1000 * 12))
	g.Expect(byName["gotk_reconcile_condition"] + byName["gotk_suspend_status"]).To(BeNumerically("<=", 1000*13))
	g.Expect(full).To(BeNumerically(">", base))
	for i := range 1000 {
		m.Delete("App", "ns", fmt.Sprint("app", i, "\n\""))
	}
	after, _ := series(g, reg)
	g.Expect(after).To(Equal(base))
}

// RT-70: a second registration is the first; without state metrics nothing of
// that sort is recorded; nil records nothing.
func TestRegistration(t *testing.T) {
	g := NewWithT(t)
	reg := prometheus.NewRegistry()
	a, err := metrics.New(reg, metrics.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	b, err := metrics.New(reg, metrics.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	a.Panic("App")
	b.Panic("App")
	families, err := reg.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	for _, f := range families {
		if f.GetName() == "gotk_panics_total" {
			g.Expect(f.GetMetric()[0].GetCounter().GetValue()).To(Equal(2.0))
		}
	}
	a.State("App", "ns", "x", nil, true)
	_, byName := series(g, reg)
	g.Expect(byName["gotk_suspend_status"]).To(BeZero())
	var none *metrics.Recorder
	none.Reconcile("a", "b", "c", 1)
	none.State("a", "b", "c", nil, false)
	none.Delete("a", "b", "c")
	none.Parked("a", 1)
	none.Event("a", "b")
	other := prometheus.NewRegistry()
	g.Expect(other.Register(prometheus.NewCounter(prometheus.CounterOpts{Name: "gotk_panics_total", Help: "another"}))).To(Succeed())
	_, err = metrics.New(other, metrics.Options{})
	g.Expect(err).To(HaveOccurred())
}
