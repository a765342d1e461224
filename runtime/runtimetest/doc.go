// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package runtimetest is a suite that any controller can run to show that it
// behaves as generic clients of the API expect.
//
// # Concepts
//
// [Conformance] starts the controller against a real API server and plays
// scripts: readiness, status rules of every version, request tokens, suspension,
// a new spec, idleness, a restart, deletion. [Run] is the same without testing
// and returns what was violated.
//
// # Errors
//
// A [Violation] names the script and what was seen.
//
// # Limits
//
// Each script waits for at most [Setup.Timeout].
//
// # Concurrency
//
// Run may be called for several controllers at once, in different namespaces.
//
// # Telemetry
//
// None.
package runtimetest
