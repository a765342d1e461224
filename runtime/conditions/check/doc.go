// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package check finds violations of the status rules that generic status
// readers rely on.
//
// # Concepts
//
// [Object] looks at one object and returns what it found; it is pure. A
// [Finding] of severity Error breaks a rule, one of severity Warning is
// unusual.
//
// # Errors
//
// None: findings are the result.
//
// # Limits
//
// None.
//
// # Concurrency
//
// Functions are safe for concurrent use.
//
// # Telemetry
//
// None.
package check
