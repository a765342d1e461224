// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package probes_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/runtime/probes"
	. "github.com/onsi/gomega"
)

// RT-123, WIRE-31
func TestProbes(t *testing.T) {
	g := NewWithT(t)
	get := func(s *probes.Set) int {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		return w.Code
	}
	s := &probes.Set{}
	g.Expect(get(s)).To(Equal(200))
	s.Add("a", func(context.Context) error { return errors.New("no") })
	g.Expect(get(s)).To(Equal(503))
	s.Add("a", func(context.Context) error { return nil })
	g.Expect(get(s)).To(Equal(200))
	now := time.Now()
	d := &probes.Watchdog{Now: func() time.Time { return now }}
	end := d.Start(time.Second)
	now = now.Add(10 * time.Second)
	g.Expect(d.Check(t.Context())).To(Succeed())
	now = now.Add(time.Millisecond)
	g.Expect(errors.Is(d.Check(t.Context()), probes.ErrStuck)).To(BeTrue())
	end()
	g.Expect(d.Check(t.Context())).To(Succeed())
}
