// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package shared keeps artifacts in a registry of blobs that several
// replicas share.
//
// # Concepts
//
// [Blobs] is what the caller plugs in: blobs by digest, and one small
// document for each object, replaced by compare-and-swap. A file exists when
// the document names it; until then no reader sees it. One replica writes,
// all of them read through a local cache. A blob that the registry
// lost is sent again by the one who writes, when the same content is written
// or checked again.
//
// # Errors
//
// Those of package artifact; [ErrConflict] is for implementers of Blobs.
//
// # Limits
//
// A document has 64 KiB, about 400 files; one more is a *artifact.LimitError
// (artifact-index). The cache has 2 GiB.
//
// # Concurrency
//
// A Driver is safe for concurrent use, also by several processes.
//
// # Telemetry
//
// None.
package shared
