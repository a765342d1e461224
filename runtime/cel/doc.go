// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cel compiles and evaluates the expressions of specs: health checks,
// readiness of dependencies, filters and commit statuses.
//
// # Concepts
//
// A [Compiler] has one environment per [Variables] set and a cache of programs.
// A [Program] is compiled against the type it must return. [Compiler.Health]
// turns the expressions of a custom health check into a function that an apply
// engine calls for each object.
//
// # Errors
//
// [*ExprError] names expression, line and column; it is terminal when the
// expression does not compile, and transient when its evaluation fails.
// [*CostError] is terminal.
//
// # Limits
//
// Text 8 KiB, cost 1,000,000, one second per evaluation, 1,000 cached programs.
// The data of Secrets is not reachable.
//
// # Concurrency
//
// Compilers and programs are safe for concurrent use.
//
// # Telemetry
//
// None.
package cel
