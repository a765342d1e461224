// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package features holds feature gates as values.
//
// # Concepts
//
// A [Gate] is declared with a default and a stage. A [Set] is made from gates
// and the value of --feature-gates; it does not change afterwards.
//
// # Errors
//
// [*UnsupportedError] names a gate that is not declared; [ErrSyntax] reports
// text that is not "A=true,B=false".
//
// # Limits
//
// None.
//
// # Concurrency
//
// A Set is safe for concurrent use.
//
// # Telemetry
//
// None; [Set.Snapshot] is for the start line of the log.
package features
