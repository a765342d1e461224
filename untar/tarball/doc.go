// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tarball packs a tree so that the same tree gives the same bytes:
// on every machine, for every number of cores and with every Go release.
//
// # Concepts
//
// [Pack] packs a directory. A [Writer] takes entries one by one, in order,
// for instance from a git export. Both write a tar stream of files and
// directories only, sorted, without times and owners, and with modes by a
// [ModePolicy].
//
// The gzip layout is called gkz1: the tar stream is cut into blocks of
// 524,288 bytes, each an independent gzip member. The member's header has one
// extra field, "GK", that holds the length of the member as a little-endian
// 32-bit number. Every gunzip reads it; package untar decodes the members
// concurrently. The deflate encoder is part of this module, so that nothing
// outside it can change a digest.
//
// # Errors
//
// [*EntryError] names the entry; inside it is [ErrOrder], [ErrChanged],
// [ErrName], a [*LimitError] or an error of the file system.
//
// # Limits
//
// [Limits] are those of extraction: what Pack accepts, untar accepts.
//
// # Concurrency
//
// A Writer is not safe for concurrent use; different Writers are independent.
// Compression uses up to [Options.Jobs] cores. No goroutine outlives Close.
//
// # Telemetry
//
// None; [Result] has the counts.
package tarball
