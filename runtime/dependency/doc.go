// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dependency knows which objects depend on which, over several kinds:
// whether a dependency is ready, who waits for it, and whether there is a cycle.
//
// # Concepts
//
// A [Tracker] holds the edges that controllers report with [Tracker.Set]. It
// reads the state of a dependency through a function of the caller's and never
// invents an object that nobody reported.
//
// # Errors
//
// [*CycleError] lists the members of a cycle in order; it is terminal.
//
// # Limits
//
// 64 levels; deeper graphs are not searched further.
//
// # Concurrency
//
// A Tracker is safe for concurrent use.
//
// # Telemetry
//
// None.
package dependency
