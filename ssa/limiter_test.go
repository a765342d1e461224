// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
)

// ending is a context that has ended, although the news has not arrived yet.
type ending struct {
	context.Context
	ended atomic.Bool
}

func (e *ending) Done() <-chan struct{} { return nil }

func (e *ending) Err() error {
	if e.ended.Load() {
		return context.Canceled
	}
	return nil
}

// SSA-101: a turn that comes to somebody who has left goes to the next.
func TestTurnOfOneWhoLeft(t *testing.T) {
	g := NewWithT(t)
	acquire, release, waiting := ssa.NewLimiter(1)
	g.Expect(acquire(t.Context())).To(Succeed())
	first := &ending{Context: t.Context()}
	left, next := make(chan error, 1), make(chan error, 1)
	go func() { left <- acquire(first) }()
	g.Eventually(waiting).Should(Equal(1))
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	go func() { next <- acquire(ctx) }()
	g.Eventually(waiting).Should(Equal(2))
	first.ended.Store(true)
	release()
	err := <-left
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue())
	g.Eventually(next, "90s").Should(Receive(BeNil()), "nobody holds the slot")
	release()
}
