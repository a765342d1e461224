// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package untar extracts tar archives from anybody into a fresh directory.
//
// # Concepts
//
// [Extract] unpacks into a private directory beside the destination and
// renames it into place when the whole input was read and [Options.Verify]
// agreed; the destination is complete or absent. A process that is killed may
// leave a directory ".<name>.<random>.tmp" beside it, which nothing uses.
// [Walk] makes the same checks and writes nothing.
//
// Files, directories and, by [LinkPolicy], symbolic links are accepted. Hard
// links, devices, sparse files and unknown types are refused, not replaced by
// something else. Owners, times and special modes are not taken over.
//
// Archives of package tarball are decoded by several cores.
//
// # Errors
//
// [ErrPathEscape], [ErrUnsupportedEntry], [ErrInvalidArchive] and
// [ErrNotCompressed] are about content and come in an [*EntryError] where an
// entry is to blame; [ErrNotEmpty] is about the destination. Errors of the
// file system, of the reader and of ctx are passed on.
//
// # Limits
//
// [Limits] bound every dimension of an archive; a [*LimitError] names the one
// exceeded. Memory stays below 64 MiB whatever the input.
//
// # Concurrency
//
// The functions are safe for concurrent use. No goroutine outlives a call.
//
// # Telemetry
//
// None; [Report] has the counts.
//
// # Migration
//
// For users of the established packages:
//
//	untar.Untar(r, dir)            Extract; the summary is the Report
//	tar.Untar(r, dir, options…)    Extract; dir must be absent or empty
//	tar.WithMaxUntarSize(n)        Options.Limits.Expanded
//	tar.WithSkipSymlinks()         the zero LinkPolicy
//	tar.WithSkipGzip()             Options.Compression: None
//	tar.Tar(dir, w)                tarball.Pack
//	sourceignore.*                 package ignore
package untar
