// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dir keeps artifacts in a local directory.
//
// # Concepts
//
// A [Driver] stores "<kind>/<namespace>/<name>/<file>" below its base. A file
// is written beside its place, synced, and renamed; a hidden file in each
// directory records digests and the order of writing. A link is a symbolic
// link to a name in its own directory; no other link is followed.
//
// Directories of the established artifact storage are taken over as they
// are.
//
// # Errors
//
// Those of package artifact; errors of the file system keep their errno.
//
// # Limits
//
// None of its own; package artifact has them.
//
// # Concurrency
//
// A Driver is safe for concurrent use. One process writes to a base at a
// time, which a lock of the operating system ensures.
//
// # Telemetry
//
// None.
package dir
