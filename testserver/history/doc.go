// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package history records what happened in a test run, from the outside, and
// decides afterwards whether it was right.
//
// # Concepts
//
// A [Recorder] collects a [Fact] for everything somebody saw: an audit log line,
// a watch event, a request at a test server, and as claims what the code under
// test said itself. The facts of a run are its [History]; it can be saved and
// loaded. A [Checker] is a pure function from a history to [Violation] values, so
// that a saved run can be judged again without the system that made it.
//
// [Linearizable] judges concurrent operations on a register or map: whether
// there is an order, within the times at which they ran, in which each result
// is what a sequential implementation would have given.
//
// # Secrets
//
// Bodies are stored by hash, secret values as a keyed hash: [Recorder.Secret].
// [Canary] is the checker that looks for values that must never appear.
//
// # Limits
//
// [Linearizable] takes at most [MaxOperations] operations of a partition.
//
// # Concurrency
//
// A Recorder is safe for concurrent use; a History is a plain slice.
package history
