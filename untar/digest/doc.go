// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package digest reads, checks and computes content digests of the form
// "<algorithm>:<hex>".
//
// # Concepts
//
// A [Digest] exists only after [Parse] accepted it, so that it can be used in
// a path or a request without another check. [New] and [Sum] compute one.
// The algorithms are sha256 (the default everywhere), sha384, sha512 and
// blake3; there is no registry to patch and no global default to set.
//
// # Errors
//
// [ErrUnsupported], always in an [*Error], reports everything that does not
// have the exact form.
//
// # Limits
//
// None: a digest has one length.
//
// # Concurrency
//
// All functions are safe for concurrent use; a hash.Hash is not.
//
// # Telemetry
//
// None.
package digest
