// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package server serves the files of an artifact store over HTTP.
//
// # Concepts
//
// A [Server] answers GET and HEAD for exactly the stored paths and stable
// names, and "/" with "ok". It lists nothing and redirects nowhere. The ETag
// is the digest; ranges and conditional requests work; names of files are
// immutable for caches, stable names are not.
//
// Bytes that do not match their digest are never delivered completely: a
// file that was not verified lately is hashed while it is sent, and its end
// is kept back until the digest matched.
//
// # Errors
//
// [Server.Serve] returns what ends the listener; nil when its context ended.
//
// # Limits
//
// Headers have 64 KiB and 10 s, a response may stall for 30 s, a connection
// may idle for 60 s, and there are 1,000 connections; see [Options].
//
// # Concurrency
//
// A Server is safe for concurrent use.
//
// # Telemetry
//
// None of its own: the store's observer hears of corrupt files.
package server
