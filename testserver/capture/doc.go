// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package capture is a server that answers everything and remembers it: the
// other end of chat hooks, forge APIs and webhooks.
//
// # Concepts
//
// Each request becomes a [Call] with method, path, headers, body and, if the
// body is JSON, its value. What it is answered is decided by the first
// [Reply] that matches, else 200 with "{}".
//
// # Errors
//
// [Server.Wait] returns the context's error, wrapped with the number of calls seen.
//
// # Limits
//
// A body is at most 16 MiB.
//
// # Concurrency
//
// A Server is safe for concurrent use.
package capture
