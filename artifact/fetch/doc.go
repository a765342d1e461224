// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fetch downloads artifacts and verifies them before anything looks
// inside.
//
// # Concepts
//
// A [Ref] has a URL and a digest. A [Fetcher] gets the bytes into a private
// file, compares length and digest, and only then extracts ([Fetcher.Dir]) or
// hands over ([Fetcher.File]). Cut connections are resumed.
//
// A [Cache] shares extracted trees between all consumers in a process: one
// download and one extraction for a digest, whoever asks first. A [Lease]
// keeps a tree in place while it is read.
//
// # Errors
//
// Everything comes in an [*Error] with the URL. [ErrNotFound] means "not
// there yet". [ErrDigestMismatch], [ErrSizeMismatch], [ErrStalled],
// [ErrUnsupportedDigest], [*StatusError] and [*LimitError] say what went
// wrong; errors of package untar come from extraction.
//
// # Limits
//
// [Options.MaxBytes] bounds downloads of unknown size, [Options.Tar] bounds
// extraction, [HTTPLimits] bound time.
//
// # Concurrency
//
// A Fetcher and a Cache are safe for concurrent use.
//
// # Telemetry
//
// None; [Result] and [CacheOptions.Observe] have what to count.
package fetch
