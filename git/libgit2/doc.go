// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package libgit2 is the driver over libgit2's object database, by cgo.
//
// # Concepts
//
// Only the object database, the indexer and the pack builder of libgit2 are
// used: no remote, no revision parser, no index, no checkout. What comes from
// the network has been read, bounded and checked by the client before.
//
// It builds with pkg-config and libgit2 1.5 (on Debian: apt-get install
// libgit2-dev pkg-config).
//
// # Errors
//
// Those of package driver.
//
// # Limits
//
// driver.OpenOptions bound objects. Delta chains are libgit2's own business.
//
// # Concurrency
//
// A Driver is safe for concurrent use; a store serialises its calls.
//
// # Telemetry
//
// None.
package libgit2
