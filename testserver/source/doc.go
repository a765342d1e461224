// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package source writes source objects (GitRepository, OCIRepository, Bucket,
// ExternalArtifact) into an API server, ready and with an artifact, as if a
// source controller had reconciled them. It is what a test of a consumer needs.
//
// # Concepts
//
// [Writer.Apply] creates or updates an object and writes its status: the
// artifact, the condition Ready, the observed generation. The objects are
// unstructured, so that their definitions may be of any version. Use it with
// package artifactserver, which serves what the status points at.
//
// # Errors
//
// [ErrKind] reports a kind this package does not know. Errors of the API server
// are wrapped.
//
// # Concurrency
//
// A Writer is safe for concurrent use.
package source
