// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gittest is the conformance suite for drivers and servers.
//
// # Concepts
//
// [Run] holds a driver.Driver to its contract; passing it is what a driver may
// claim. [RunServer] runs the client against a server that somebody else
// wrote. Both need the git program as oracle where they say so.
//
// # Errors
//
// None; failures are those of the test.
//
// # Limits
//
// None of its own.
//
// # Concurrency
//
// The suites run their subtests one after the other.
//
// # Telemetry
//
// None.
package gittest
