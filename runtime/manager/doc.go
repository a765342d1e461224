// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manager is the main function that every controller shares: flags,
// logging, leader election, probes, and the boot that ties the packages of this
// module together.
//
// # Concepts
//
// [Main] parses flags, validates them all, starts the manager, calls
// [Options.Setup] with a [Kit], and runs until a signal. It returns the exit
// code. [Combined] serves several controllers in one process: one cache, one
// client pool and one event queue, a lease and flags for each.
//
// # Errors
//
// Errors of flags are printed to stderr, one per line, before anything is
// contacted; the exit code is 1. A lost lease ends the process with 1.
//
// # Limits
//
// The lease's durations are flags. After the renew deadline no mutating request
// leaves the process.
//
// # Concurrency
//
// Main is called once.
//
// # Telemetry
//
// Metrics on --metrics-addr; see package metrics.
package manager
