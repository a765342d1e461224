// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/metrics"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/runtime/telemetry"
	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

type appStep = reconcile.Step[*app]

// RT-35: steps run in order; an error, Done and Unchanged end the run; each
// step is measured and is a span; the status does not show the step's name.
func TestSteps(t *testing.T) {
	boom := errors.New("boom")
	cases := map[string]struct {
		reason  string
		second  reconcile.Result
		err     error
		want    []string
		message string
	}{
		"All":       {reason: "the end of the list is success", want: []string{"one", "two", "three"}, message: "reconciliation succeeded"},
		"Error":     {reason: "an error ends the run", err: boom, want: []string{"one", "two"}, message: "boom"},
		"Done":      {reason: "so does a step that is done", second: reconcile.Success("enough"), want: []string{"one", "two"}, message: "enough"},
		"Unchanged": {reason: "so does one that found nothing to do", second: reconcile.NoChange(), want: []string{"one", "two"}, message: "reconciliation succeeded"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var ran, spans []string
			reg := prometheus.NewRegistry()
			step := func(name string, res reconcile.Result, err error) appStep {
				return appStep{Name: name, Run: func(context.Context, *app) (reconcile.Result, error) { ran = append(ran, name); return res, err }}
			}
			a := &author{run: func(ctx context.Context, o *app) (reconcile.Result, error) {
				return reconcile.Do(ctx, o, step("one", reconcile.Result{}, nil), step("two", tc.second, tc.err), step("three", reconcile.Result{}, nil))
			}}
			r := newRig(t, newApp(), a, reconcile.Options[*app]{}, func(k *reconcile.Kit) {
				var err error
				k.Metrics, err = metrics.New(reg, metrics.Options{})
				g.Expect(err).NotTo(HaveOccurred())
				k.Telemetry = telemetry.Hook{Start: func(ctx context.Context, name string, _ ...telemetry.Attr) (context.Context, func(error)) {
					return ctx, func(err error) {
						if err != nil {
							name += ": " + err.Error()
						}
						spans = append(spans, name)
					}
				}}
			})
			r.run(t)
			g.Expect(ran).To(Equal(tc.want), tc.reason)
			g.Expect(conditions.Message(r.get(t), meta.ReadyCondition)).To(Equal(tc.message), tc.reason)
			g.Expect(measured(g, reg, "gotk_reconcile_step_duration_seconds", "step")).To(ConsistOf(tc.want), tc.reason)
			var stepped []string
			for _, s := range tc.want {
				stepped = append(stepped, "step "+s)
			}
			if tc.err != nil {
				stepped[len(stepped)-1] += ": boom"
			}
			g.Expect(spans[:len(stepped)]).To(Equal(stepped), tc.reason)
		})
	}
}

// measured lists the values of a label in a family.
func measured(g *WithT, reg *prometheus.Registry, family, label string) []string {
	families, err := reg.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == family && l.GetName() == label {
					out = append(out, l.GetValue())
				}
			}
		}
	}
	return out
}

// COND-11: a panic ends one run, is counted, and leaves its stack in
// the log only; its value goes nowhere.
func TestPanic(t *testing.T) {
	g := NewWithT(t)
	var log strings.Builder
	reg := prometheus.NewRegistry()
	running := 0
	a := &author{run: func(context.Context, *app) (reconcile.Result, error) {
		running++
		panic("canary-value")
	}}
	r := newRig(t, newApp(), a, reconcile.Options[*app]{}, func(k *reconcile.Kit) {
		var err error
		k.Metrics, err = metrics.New(reg, metrics.Options{})
		g.Expect(err).NotTo(HaveOccurred())
	})
	ctx := logf.IntoContext(t.Context(), funcr.New(func(_, line string) { log.WriteString(line + "\n") }, funcr.Options{}))
	_, err := r.h.Reconcile(ctx, ctrl.Request{NamespacedName: r.key})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(running).To(Equal(1))
	got := r.get(t)
	g.Expect(conditions.Reason(got, meta.ReadyCondition)).To(Equal("ReconcilePanic"))
	g.Expect(log.String()).To(ContainSubstring("steps_test.go"), "the stack")
	g.Expect(measured(g, reg, "gotk_panics_total", "kind")).To(Equal([]string{"App"}))
	for _, c := range got.Status.Conditions {
		g.Expect(c.Message).NotTo(Or(ContainSubstring("canary"), ContainSubstring("steps_test.go")))
	}
	g.Expect(log.String()).NotTo(ContainSubstring("canary-value"))
	for _, e := range r.drain() {
		g.Expect(e.Payload.Message).NotTo(Or(ContainSubstring("canary"), ContainSubstring("steps_test.go")))
	}
}
