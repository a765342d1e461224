// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package logger writes one JSON object, or one console line, per log record.
//
// # Concepts
//
// [New] returns a logr.Logger. Lines have level (trace, debug, info, error), ts
// (ISO 8601 with milliseconds and zone), logger, msg and the caller's keys; an
// error is under error. V(0) is info, V(1) debug, V(2) and beyond trace.
//
// # Errors
//
// [ErrLevel] and [ErrEncoding] report flag values that are not known.
//
// # Limits
//
// A line has at most 16 KiB: longer values are cut and the line says
// "truncated": true. Control and bidi characters are escaped. Values that are
// Secrets of the Kubernetes API, HTTP headers or URLs with credentials are
// masked.
//
// # Concurrency
//
// Loggers are safe for concurrent use; a line is one write.
//
// # Telemetry
//
// None.
package logger
