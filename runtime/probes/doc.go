// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package probes answers liveness and readiness.
//
// # Concepts
//
// A [Set] of named checks per endpoint. Liveness fails while a registered
// [Watchdog] says that a worker is stuck; readiness fails while a check does.
//
// # Errors
//
// A failing check is answered with status 503 and its name.
//
// # Limits
//
// A check has one second.
//
// # Concurrency
//
// Values are safe for concurrent use.
//
// # Telemetry
//
// None.
package probes
