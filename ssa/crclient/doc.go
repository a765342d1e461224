// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crclient lets package ssa read live objects from a
// controller-runtime cache instead of the API server.
//
// # Concepts
//
// [Live] turns a client.Reader that is backed by a cache into an
// ssa.LiveReader. The cache must keep managedFields: do not strip them with a
// transform.
//
// # Errors
//
// ssa.ErrLiveNotSynced while the cache has not started for the kind; what the
// reader returns otherwise.
//
// # Limits
//
// Those of the cache.
//
// # Concurrency
//
// Safe for concurrent use.
//
// # Telemetry
//
// None.
package crclient
