// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package git resolves references, checks commits out, verifies, commits and
// pushes, over https, http and ssh, without a git program.
//
// # Concepts
//
// A [Client] stands for one repository. [Client.Resolve] turns a [Reference]
// into one commit with one listing; [Client.Checkout] fetches exactly that
// commit and writes it into a fresh directory. No repository is built on the
// way: the files come straight out of the verified pack.
//
// # Errors
//
// Every operation returns an [*Error] that names operation, redacted URL and
// reference. What happened is found with errors.Is: [ErrAuth],
// [ErrRefNotFound], [ErrHostKeyMismatch] and so on. Reason and Terminal tell a
// controller what to do.
//
// # Limits
//
// [Limits] lists every bound and its default; a [*LimitError] names the one
// that was exceeded. [HTTPLimits] bound waiting.
//
// # Concurrency
//
// A Client and a [Pool] are safe for concurrent use.
//
// # Telemetry
//
// None by itself; [Options.Observe] sees every request and phase.
package git
