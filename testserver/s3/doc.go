// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package s3 is the part of the S3 protocol that a reader of buckets needs:
// listing (version 2), reading and describing objects, with signatures of
// version 4 checked.
//
// # Concepts
//
// Buckets and objects are put in by the test with [Server.Put]. Requests are
// accepted in path style, and in virtual-host style below [Options.Domain].
// Without [Options.Credentials] everybody may read; with them every request
// must be signed by one.
//
// # Errors
//
// Only starting can fail; clients get the protocol's XML errors.
//
// # Limits
//
// A listing page has at most 1,000 keys. Objects are kept in memory.
//
// # Concurrency
//
// A Server is safe for concurrent use.
package s3
