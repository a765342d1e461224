// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package predicates decides which changes of an object are worth a run.
//
// # Concepts
//
// [Own] is for the reconciled kind: spec, request token, deletion, suspension,
// but never a change of status or metadata that the controller makes itself.
// [SourceRevision] is for sources: a new artifact revision.
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
// Predicates are safe for concurrent use.
//
// # Telemetry
//
// None.
package predicates
