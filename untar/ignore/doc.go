// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ignore decides which paths a set of gitignore patterns excludes,
// exactly as git does.
//
// # Concepts
//
// A [Pattern] comes from [Parse] (one file), [Load] (the ignore files of a
// tree), [VCS] or [Defaults]. [New] compiles patterns to an immutable
// [Matcher]. The order of the patterns is their precedence: the last one that
// matches decides, and a pattern of a file in directory d sees only what is
// below d. [Load] returns patterns from the root down, so that appending to
// its result overrides all of it.
//
// [Matcher.Match] judges one path, parents included. [Matcher.Walker] judges
// a whole tree, each directory once and without an allocation per path.
//
// Paths are slash-separated, relative to the root, without "." and "..", and
// compared as bytes, case-sensitively.
//
// By default nothing below an excluded directory can come back, as in git.
// [Options.ReincludeBelow] is the one deviation: a later "!" pattern then
// brings such a path back.
//
// # Errors
//
// Malformed patterns are no errors; they match nothing and are listed by
// [Matcher.Problems]. A [*LimitError] names the limit that was exceeded.
//
// # Limits
//
// ignore-patterns (10,000) and ignore-bytes (1 MiB over all files), both in
// [Limits]; a line has at most 4,096 bytes. Matching is linear in the length
// of the path for each pattern without "**", and quadratic at worst with it.
//
// # Concurrency
//
// A [Matcher] is safe for concurrent use. A [Walker] is not.
//
// # Telemetry
//
// None.
//
// # Migration
//
// For users of the established sourceignore package:
//
//	sourceignore.ReadPatterns      Parse
//	sourceignore.ReadIgnoreFile    Parse over an opened file
//	sourceignore.LoadIgnorePatterns Load
//	sourceignore.VCSPatterns       VCS
//	sourceignore.DefaultPatterns   Defaults
//	sourceignore.NewMatcher        New
//	sourceignore.NewDefaultMatcher New over VCS, Defaults and your own patterns
package ignore
