// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package proc runs programs for tests: it waits until they are ready, collects
// what they print, pauses, samples and kills them, and leaves none behind.
//
// # Concepts
//
// [Start] runs a program for the length of a test, [Run] without one. A
// [Process] is the leader of its own process group, and all signals go to the
// group, so that what a program starts ends with it. On Linux the group also
// ends when the test binary is killed.
//
// # Errors
//
// [ErrExited] says that a program ended before it was ready or while it was
// waited for; an [*ExitError] carries its status and the end of its output.
//
// # Limits
//
// The last 1 MiB of output is kept.
//
// # Concurrency
//
// A Process is safe for concurrent use.
//
// # Telemetry
//
// [Process.Sample] reads memory, descriptors, threads and processor time from
// the system, and the number of goroutines from a pprof endpoint.
package proc
