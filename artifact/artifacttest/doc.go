// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package artifacttest is the conformance suite for drivers of artifact
// storage.
//
// # Concepts
//
// A driver's test file is one call of [Run] with a function that makes an
// empty driver. What [Run] checks is the contract of artifact.Driver and of
// the optional interfaces that the driver has.
//
// # Errors
//
// Every violation is a test failure that names the part of the contract.
//
// # Limits
//
// The suite writes about 20 MiB and 1,000 files; 150 with -short, 10,000 with
// GITOPS_KIT_LONG=1 in the environment.
//
// # Concurrency
//
// Run may be called from parallel tests.
//
// # Telemetry
//
// None.
package artifacttest
