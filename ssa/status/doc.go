// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package status computes from a live object alone whether it is in the state
// that its specification asks for.
//
// # Concepts
//
// [Compute] looks first at what every kind may have: a deletion timestamp,
// status.observedGeneration, the conditions Reconciling and Stalled. Then it
// applies the rules of built-in kinds; any other kind is judged by its
// condition Ready.
//
// # Errors
//
// None: what cannot be judged is [Unknown] or [InProgress], with a message.
//
// # Limits
//
// Messages are at most 1,024 bytes.
//
// # Concurrency
//
// Functions are pure.
//
// # Telemetry
//
// None.
package status
