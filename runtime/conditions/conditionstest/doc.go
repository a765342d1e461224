// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conditionstest checks, in a test against a real API server, that every
// version of every status keeps the rules that generic readers rely on.
//
// # Concepts
//
// [Watch] records all versions of the objects of some kinds and fails the test
// for each rule that a version breaks. Only versions whose status differs from
// the one before count: a user's change of the spec is not the controller's.
//
// # Errors
//
// Findings fail the test.
//
// # Limits
//
// None.
//
// # Concurrency
//
// A Recorder is safe for concurrent use.
//
// # Telemetry
//
// None.
package conditionstest
