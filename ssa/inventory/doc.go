// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inventory remembers which objects a set owns: the identity of an
// object as a string, sets of such identities, their stored form, and the
// write-ahead ledger that keeps a crash from orphaning anything.
//
// # Concepts
//
// An [ID] names an object independently of its API version. A [Set] is an
// ordered collection of IDs with the version and, if known, the UID each had.
// A [Ledger] stores the union of old and intended objects before the first
// write ([Ledger.Begin]) and the truth after the last one ([Ledger.Commit])
// in a [Store]. [Encode] and [Decode] are the compressed, chunked form.
//
// # Errors
//
// [Parse] returns a [*IDError]. A Store returns [ErrConflict] when somebody
// else wrote in between, and [ErrCorrupt] when what it reads is not what was
// written; a corrupt inventory must never be used to delete anything.
//
// # Limits
//
// [Decode] reads at most 64 MiB of text and 1,000,000 ids.
//
// # Concurrency
//
// A Set is safe for concurrent reads; a Ledger and [Memory] are safe for
// concurrent use.
//
// # Telemetry
//
// None.
package inventory
