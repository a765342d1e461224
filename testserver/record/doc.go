// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package record keeps the request log of a test server.
//
// # Concepts
//
// A [Log] holds one [Request] for every request a server accepted, from the
// moment its headers were read. [Log.Count] and [Log.Wait] answer the question
// a test asks: "how many requests like this one were there?". What "like this"
// means is a [Match].
//
// Credentials are never stored. The value of a header or query parameter that
// carries one is replaced by a keyed hash; [Log.HMAC] computes the same hash, so
// that a test can ask "was it this token?".
//
// # Errors
//
// [Log.Wait] returns the context's error, wrapped with the number of matching
// requests seen.
//
// # Limits
//
// The newest [Capacity] requests are kept; [Log.Total] goes on counting.
//
// # Concurrency
//
// A Log is safe for concurrent use.
package record
