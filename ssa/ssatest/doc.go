// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ssatest helps to test what is built on package ssa: a Cluster that
// records and breaks requests, and conformance suites.
//
// # Concepts
//
// [Recorder] wraps any ssa.Cluster. It counts calls and lets a test fail them
// before they are sent, or drop their reply afterwards. [RunStore] checks an
// implementation of inventory.Store.
//
// # Errors
//
// A fault returns the error that the test gave it.
//
// # Limits
//
// A Recorder keeps every call: use one per test.
//
// # Concurrency
//
// A Recorder is safe for concurrent use.
//
// # Telemetry
//
// None.
package ssatest
