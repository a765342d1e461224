// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package otel adapts the OpenTelemetry API to a telemetry hook.
//
// # Concepts
//
// [Hook] starts spans with a tracer of the caller's. A span without a parent
// joins the trace of the revision it is about, so that all controllers' spans of
// one revision meet without passing a header.
//
// # Errors
//
// An error ends its span with status Error and its text, which is redacted by
// whoever made it.
//
// # Limits
//
// An error's text is cut to 1,024 bytes.
//
// # Concurrency
//
// A hook is safe for concurrent use.
//
// # Telemetry
//
// Names and attributes are those of package telemetry.
package otel
