// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package web is the HTTP server that every listener of a controller uses.
//
// # Concepts
//
// A [Server] has bounds on everything a client can send or hold, and stops
// gracefully.
//
// # Errors
//
// [Server.Serve] returns the error of the listener, nil after a stop. A body
// over the limit makes its reads fail with *http.MaxBytesError.
//
// # Limits
//
// [Limits] lists every bound and its default: header 64 KiB (431) within 10 s,
// body 3 MiB (413), reading and writing 30 s, idle 60 s, 500 connections, 10 s
// to stop.
//
// # Concurrency
//
// A Server is safe for concurrent use.
//
// # Telemetry
//
// None.
package web
