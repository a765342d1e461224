// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package jitter spreads intervals, so that objects created together do not
// run together for ever.
//
// # Concepts
//
// An [Interval] is a value: no global source, no registration.
//
// # Errors
//
// [ErrPercent] reports a percentage outside 0 ≤ p < 100.
//
// # Limits
//
// A jittered interval is never below one second.
//
// # Concurrency
//
// Values are safe for concurrent use.
//
// # Telemetry
//
// None.
package jitter
