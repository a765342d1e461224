// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package telemetry is the hook by which spans leave the SDK, without a
// dependency on any tracing library.
//
// # Concepts
//
// A [Hook] has one function that starts a span and returns its end. The zero
// value does nothing and allocates nothing. Package telemetry/otel adapts the
// OpenTelemetry API to it. [TraceID] gives all controllers the same trace for
// the same revision.
//
// # Errors
//
// None.
//
// # Limits
//
// None.
//
// # Concurrency
//
// A Hook is safe for concurrent use if its function is.
//
// # Telemetry
//
// Span names: "reconcile <Kind>", "step <name>". Attributes:
// gitops.kind, gitops.namespace, gitops.name, gitops.generation,
// gitops.revision.
package telemetry
