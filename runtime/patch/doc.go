// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package patch writes the status and the metadata of an object without ever
// showing a reader half of a change.
//
// # Concepts
//
// [Status] sends at most one JSON merge patch of the status subresource that
// carries the resource version it was computed from: conditions, observed
// generation, handled tokens, artifact and inventory travel together. A
// conflict re-reads the object, merges conditions and re-applies our changes
// to fields nobody else touched. [Metadata] does the same for finalizers and
// named annotations, in a request of its own.
//
// # Errors
//
// [ErrSuperseded]: the spec changed meanwhile, nothing was written.
// [*StatusConflictError] names fields that another writer changed.
// [ErrConflict] is returned when the tries are used up.
//
// # Limits
//
// Five tries, with 50, 100, 200 and 400 ms ± 20 % between them. A status that
// the server refuses as too large is sent once more with messages cut to
// 1,024 bytes.
//
// # Concurrency
//
// Functions are safe for concurrent use with different objects.
//
// # Telemetry
//
// [Options.Observe] is called once per request.
package patch
