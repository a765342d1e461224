// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package configwatch holds what a controller watches beside its own kinds:
// which objects of its own kinds, and which Secrets and ConfigMaps.
//
// # Concepts
//
// [Flags] are the selectors. ByReference of package reconcile makes a watch of labelled Secrets and
// ConfigMaps, of which only metadata is kept in memory.
//
// # Errors
//
// [Flags.Validate] returns the error of a selector that cannot be parsed.
//
// # Limits
//
// None.
//
// # Concurrency
//
// Values are safe for concurrent use.
//
// # Telemetry
//
// None.
package configwatch
