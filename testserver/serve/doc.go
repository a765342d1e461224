// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package serve is the HTTP half of every test server: a listener on loopback,
// TLS with a certificate authority of its own, the request log, faults, outages
// and an orderly end. Use it directly to put any [net/http.Handler] under the
// same controls.
//
// # Concepts
//
// [Start] is for tests: it fails the test on error and stops the server at its
// end. [Run] is the same without the testing package. The listener stays open
// from start to stop, so the address never changes and is never taken by
// somebody else: [Server.Pause] refuses connections on it, [Server.Resume]
// accepts them again.
//
// # Errors
//
// Only starting can fail.
//
// # Limits
//
// The log keeps [record.Capacity] requests; the tail printed for a failed test
// is at most 64 KiB.
//
// # Concurrency
//
// A Server is safe for concurrent use.
package serve
