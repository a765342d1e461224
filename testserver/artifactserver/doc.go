// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package artifactserver serves artifacts: archives at a URL with a digest, as
// source controllers do. It is the test double of a producer, and through
// [Tar] the source of archives no honest producer makes.
//
// # Concepts
//
// [Server.Publish] packs files and returns what a status would say about them.
// [Server.PublishBytes] serves any bytes; [Server.Replace] changes what is
// behind a path without changing what was said about it. Archives are made by
// archive/tar and compress/gzip: they are an oracle for other readers, not
// themselves under test.
//
// # Errors
//
// Nothing fails but starting.
//
// # Limits
//
// Content is kept in memory, except what [Server.PublishStream] writes.
//
// # Concurrency
//
// A Server is safe for concurrent use; a [Builder] is not.
package artifactserver
