// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conditions reads, writes, summarises and merges the conditions of
// an object's status.
//
// # Concepts
//
// A [Getter] has conditions, a [Setter] changes them. [Set] and the Mark
// functions keep the list in its documented order, stamp the object's
// generation, cut and escape messages, and move the transition time exactly
// when status, reason or message change. [Summarize] computes one condition
// from others, [Mirror] copies another object's Ready, [Merge] joins two
// changes of one base. Negative types (Reconciling, Stalled and those a caller
// names) are present only while True: remove them with [Delete].
//
// # Errors
//
// [*ConflictError] names a condition that two writers changed differently;
// [*ConditionsError] reports a status whose conditions cannot be read.
//
// # Limits
//
// A message is cut to 32,768 bytes, a reason that the API server would refuse
// becomes Failed.
//
// # Concurrency
//
// Functions are pure apart from the object they are given, which must not be
// used concurrently.
//
// # Telemetry
//
// None.
package conditions
