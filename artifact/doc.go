// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package artifact stores immutable, content-addressed files that sources
// produce and consumers fetch.
//
// # Concepts
//
// A [Store] keeps files by [Key] over a [Driver]: package dir for a local
// directory, package shared for a blob registry. [Store.Write] and
// [Store.Pack] produce a file as a whole or not at all and return the
// meta.Artifact that goes into a status. [Store.Check] tells on each run
// whether it is still there and intact, [Store.Collect] removes old files,
// [Store.Link] gives the newest a stable name. Package server serves a store,
// package fetch gets exactly those bytes or an error.
//
// # Errors
//
// An [*Error] names operation and key; inside are [ErrNotFound],
// [ErrCorrupt], [ErrStorageFull], [ErrConflict], [ErrInvalidKey],
// [ErrUnsupportedDigest], [ErrLocked], a [*LimitError] or an error of the
// file system with its errno.
//
// # Limits
//
// [Limits]: 2 GiB a file, two files and 60 seconds of retention, and free
// space of 5 % or 256 MiB.
//
// # Concurrency
//
// A Store is safe for concurrent use; writes to one key are serialised,
// readers never wait for writers.
//
// # Telemetry
//
// [Options.Observe] hears of files written, unchanged, corrupt, restored and
// removed.
package artifact
