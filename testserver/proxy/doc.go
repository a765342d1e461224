// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package proxy is a proxy that a client is told to use: HTTP (CONNECT and
// plain requests) or SOCKS5, with authentication and a log of destinations. For a
// proxy the client does not know of, see package fault.
//
// # Concepts
//
// Every destination is recorded as a request whose path is "host:port" as the
// client gave it: a name if the proxy was to resolve it. [Options.Names] says
// where names lead.
//
// # Errors
//
// Only starting can fail.
//
// # Concurrency
//
// A Server is safe for concurrent use.
package proxy
