// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package acl decides whether an object may refer to an object of another
// namespace.
//
// # Concepts
//
// A [Checker] is made once from the labels of namespaces and the flags of the
// process; [Checker.Check] is the only way by which controllers follow a
// reference.
//
// # Errors
//
// [ErrDenied] matches every refusal; [*DeniedError] names the reference. The
// text for a refused reference is that for a missing object. A failed look-up
// of labels is returned as it is and never allows anything.
//
// # Limits
//
// None.
//
// # Concurrency
//
// A Checker is safe for concurrent use.
//
// # Telemetry
//
// None.
package acl
