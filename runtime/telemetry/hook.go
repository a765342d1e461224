// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"crypto/sha256"
)

// Attr is one attribute of a span.
type Attr struct {
	// Key of the attribute.
	Key string
	// Value is a string, an int64 or a bool.
	Value any
}

// Names of attributes.
const (
	// Kind of the object.
	Kind = "gitops.kind"
	// Namespace of the object.
	Namespace = "gitops.namespace"
	// Name of the object.
	Name = "gitops.name"
	// Generation of the object.
	Generation = "gitops.generation"
	// Revision the work is about.
	Revision = "gitops.revision"
)

// String returns a string attribute.
func String(key, value string) Attr { return Attr{Key: key, Value: value} }

// Int returns an integer attribute.
func Int(key string, value int64) Attr { return Attr{Key: key, Value: value} }

// Hook starts spans. The zero value does nothing.
type Hook struct {
	// Start starts a span and returns a context that carries it and the function
	// that ends it. Errors given to the end are already redacted.
	Start func(ctx context.Context, name string, attrs ...Attr) (context.Context, func(error))
}

// Enabled reports whether spans go anywhere.
func (h Hook) Enabled() bool { return h.Start != nil }

// Span starts a span through the hook; without one it returns ctx and a
// function that does nothing.
func (h Hook) Span(ctx context.Context, name string, attrs ...Attr) (context.Context, func(error)) {
	if h.Start == nil {
		return ctx, nothing
	}
	ctx, end := h.Start(ctx, name, attrs...)
	if end == nil {
		end = nothing
	}
	return ctx, end
}

func nothing(error) {}

// TraceID returns the trace of an origin revision: the first 16 bytes of its
// SHA-256.
func TraceID(originRevision string) [16]byte {
	sum := sha256.Sum256([]byte(originRevision))
	return [16]byte(sum[:16])
}
