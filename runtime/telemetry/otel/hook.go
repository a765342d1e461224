// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package otel

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/gitops-kit/sdk/runtime/internal/text"
	"github.com/gitops-kit/sdk/runtime/telemetry"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const maxError = 1024

// Hook returns a hook that starts spans with the tracer. A nil tracer gives the
// zero hook.
func Hook(t trace.Tracer) telemetry.Hook {
	if t == nil {
		return telemetry.Hook{}
	}
	return telemetry.Hook{Start: func(ctx context.Context, name string, attrs ...telemetry.Attr) (context.Context, func(error)) {
		list := make([]attribute.KeyValue, 0, len(attrs))
		for _, a := range attrs {
			list = append(list, convert(a))
		}
		if revision := revisionOf(attrs); revision != "" && !trace.SpanContextFromContext(ctx).IsValid() {
			ctx = join(ctx, revision)
		}
		ctx, span := t.Start(ctx, name, trace.WithAttributes(list...))
		return ctx, func(err error) {
			if err != nil {
				span.SetStatus(codes.Error, text.Cut(text.Escape(err.Error(), maxError), maxError, "…"))
			}
			span.End()
		}
	}}
}

// revisionOf returns what a span is about, empty when that is not said.
func revisionOf(attrs []telemetry.Attr) string {
	for _, a := range attrs {
		if revision, ok := a.Value.(string); ok && a.Key == telemetry.Revision {
			return revision
		}
	}
	return ""
}

// join makes ctx a child of the trace of a revision.
func join(ctx context.Context, revision string) context.Context {
	sum := sha256.Sum256([]byte(revision))
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: telemetry.TraceID(revision), SpanID: trace.SpanID(sum[16:24]), TraceFlags: trace.FlagsSampled, Remote: true,
	}))
}

func convert(a telemetry.Attr) attribute.KeyValue {
	switch v := a.Value.(type) {
	case string:
		return attribute.String(a.Key, text.Escape(v, maxError))
	case int64:
		return attribute.Int64(a.Key, v)
	case bool:
		return attribute.Bool(a.Key, v)
	}
	return attribute.String(a.Key, fmt.Sprint(a.Value))
}
