// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package blobregistry keeps the blobs and indexes of package
// artifact/shared in a repository of an OCI registry.
//
// # Concepts
//
// An index document is an annotation of an image manifest with artifact type
// [IndexType]. The manifest's tag is derived from the document's name, its
// layers are the blobs that the document names, so that the registry's own
// garbage collection keeps them. The version of a document is the digest of
// its manifest; a serial number makes every manifest another one.
//
// # Compare-and-swap
//
// A registry has none. [Registry.PutIndex] reads the tag, compares, puts and
// reads back. With one writer, which leader election gives, that is a swap.
// Of two writers that overlap, the one whose manifest was replaced before it
// read back gets [shared.ErrConflict]; one that was replaced later was told
// that it succeeded, and its change is lost.
//
// # Refused deletions
//
// Many registries do not delete. A blob then stays until their own collection
// takes it; a document is replaced by a manifest that says it was removed.
//
// # Errors
//
// [*Error] has operation, status and code; [ErrUnauthorized],
// [ErrRealmBlocked], [ErrNotRegistry], [ErrCrossOrigin], [ErrPageLoop],
// artifact.ErrNotFound, artifact.ErrCorrupt and *artifact.LimitError say what
// happened. Errors of the outbound policy are those of its package.
//
// # Limits
//
// See [Limits]; attempts, redirects and times are those of the HTTP limits.
//
// # Concurrency
//
// A [Registry] is safe for concurrent use.
//
// # Telemetry
//
// None.
package blobregistry
