// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fault describes and applies the failures a test wants from a server,
// a network or a file system.
//
// # Concepts
//
// A [Plan] says which requests fail and how. Every test server takes plans; the
// first plan that matches a request is applied to it. [Proxy] applies plans in
// front of a server that is not ours. [FS] fails file operations and simulates
// a power cut; [Clock] is a clock a test moves by hand.
//
// # Determinism
//
// Nth and Every count the requests a plan's Match selects. Ratio draws from a
// generator that depends only on Seed and that count, so that a run with the
// same requests has the same faults.
//
// # Byte positions
//
// They count the bytes of the reply's body from 1; 0 switches a field off. For
// SSH they count what the command writes to its standard output, for a TCP
// proxy what the server sends.
//
// # Concurrency
//
// All types are safe for concurrent use unless they say otherwise.
package fault
