// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package eventserver is a sink for the events GitOps controllers post: it
// records them, waits for them and answers as told.
//
// # Concepts
//
// A sink accepts JSON payloads by POST. Every accepted one is an [Event]; what
// was refused, by a fault plan or because it was malformed, is only in the
// request log. [Options.Dedup] makes the sink answer 429 to a repetition, as
// receivers of this format do.
//
// # Errors
//
// [Server.Wait] returns the context's error, wrapped with the number of events
// seen.
//
// # Limits
//
// A body is at most 4 MiB.
//
// # Concurrency
//
// A Server is safe for concurrent use.
package eventserver
