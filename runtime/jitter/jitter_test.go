// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package jitter_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/runtime/jitter"
	. "github.com/onsi/gomega"
)

// RT-120
func TestApply(t *testing.T) {
	g := NewWithT(t)
	for _, p := range []int{-1, 100, 1000} {
		_, err := jitter.New(p)
		g.Expect(errors.Is(err, jitter.ErrPercent)).To(BeTrue())
	}
	var none jitter.Interval
	g.Expect(none.Apply(time.Hour)).To(Equal(time.Hour))
	i, err := jitter.New(50)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(i.Apply(0)).To(BeZero())
	g.Expect(i.Apply(time.Millisecond)).To(Equal(time.Second), "never below a second")
	var low, high, sum time.Duration = time.Hour, 0, 0
	const n = 20000
	for range n {
		d := i.Apply(time.Minute)
		g.Expect(d).To(And(BeNumerically(">=", 30*time.Second), BeNumerically("<=", 90*time.Second)))
		low, high, sum = min(low, d), max(high, d), sum+d
	}
	g.Expect(low).To(BeNumerically("<", 31*time.Second))
	g.Expect(high).To(BeNumerically(">", 89*time.Second))
	g.Expect(sum / n).To(BeNumerically("~", time.Minute, time.Second))
}

func TestApplyConcurrentSafe(t *testing.T) {
	var wg sync.WaitGroup
	i := jitter.Interval{Percent: 10}
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				i.Apply(time.Minute)
			}
		})
	}
	wg.Wait()
}
