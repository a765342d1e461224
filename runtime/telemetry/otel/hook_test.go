// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package otel_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gitops-kit/sdk/runtime/telemetry"
	"github.com/gitops-kit/sdk/runtime/telemetry/otel"
	. "github.com/onsi/gomega"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"
)

// tracer remembers the last span.
type tracer struct {
	embedded.Tracer
	parent trace.SpanContext
	attrs  int
	last   *span
}

type span struct {
	noop.Span
	status string
	ended  bool
}

func (s *span) SetStatus(_ codes.Code, text string) { s.status = text }
func (s *span) End(...trace.SpanEndOption)          { s.ended = true }

func (t *tracer) Start(ctx context.Context, _ string, o ...trace.SpanStartOption) (context.Context, trace.Span) {
	config := trace.NewSpanStartConfig(o...)
	t.parent, t.attrs, t.last = trace.SpanContextFromContext(ctx), len(config.Attributes()), &span{}
	return ctx, t.last
}

// RT-73, RT-74
func TestHook(t *testing.T) {
	g := NewWithT(t)
	tr := &tracer{}
	h := otel.Hook(tr)
	ctx, end := h.Span(t.Context(), "reconcile App", telemetry.String(telemetry.Revision, "main@sha1:a"), telemetry.Int(telemetry.Generation, 3))
	g.Expect(tr.parent.TraceID()).To(Equal(trace.TraceID(telemetry.TraceID("main@sha1:a"))), "spans of one revision meet")
	g.Expect(tr.attrs).To(Equal(2))
	first := tr.parent
	_, inner := h.Span(ctx, "step x", telemetry.String(telemetry.Revision, "other"))
	g.Expect(tr.parent).To(Equal(first), "a child stays in its trace")
	inner(errors.New("bad\x1b[0m"))
	g.Expect(tr.last.ended).To(BeTrue())
	g.Expect(tr.last.status).To(Equal("bad\\u001b[0m"))
	end(nil)
	g.Expect(otel.Hook(nil).Enabled()).To(BeFalse())
	var zero telemetry.Hook
	g.Expect(testing.AllocsPerRun(100, func() { _, end := zero.Span(ctx, "x"); end(nil) })).To(BeZero())
}

func Example() {
	hook := otel.Hook(noop.NewTracerProvider().Tracer("gitops-kit"))
	_, end := hook.Span(context.Background(), "step build")
	end(nil)
	fmt.Println(hook.Enabled())
	// Output: true
}
