// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package meta holds the types and constants that every GitOps Toolkit API
// group shares: conditions and reasons, durations, references, artifacts,
// revisions, inventories, history and the event payload.
//
// # Concepts
//
// The types are wire types: their JSON is the published API. Everything else
// is a parser or an accessor; nothing here does I/O, logs, or starts a
// goroutine. A [Duration] decodes whatever is stored and reports a bad value
// through [Duration.Err], so that one bad object never breaks the decoding of
// a list. An [ObjectID] is the identity of an object in an [Inventory]; it
// reads ids written by established controllers and writes ids that round-trip.
//
// # Errors
//
// [ErrDigest] and [ErrRevision] report text that is not a digest or revision;
// [*DurationError] and [*ObjectIDError] carry the offending text. All have
// Reason, which is [InvalidSpecReason], and Terminal, which is true: retrying
// does not change what is written in a spec. [*EventError] names the field of
// an event that cannot be sent.
//
// # Limits
//
// A digest or revision is at most 4,096 bytes, an object id at most 1,024. An
// event has at most [MaxEventMetadata] metadata entries of at most
// [MaxEventMetadataBytes] and a message of at most [MaxEventMessage]
// characters. A history holds at most [MaxHistory] snapshots.
//
// # Concurrency
//
// Functions are pure. Values follow the usual rule: concurrent readers or one
// writer.
package meta

// +kubebuilder:object:generate=true
