// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package driver is the small interface between the portable Git client and
// an object database.
//
// # Concepts
//
// A [Driver] opens a directory as a [Store]; a Store keeps objects under
// their [Hash]. A driver never dials, never writes a worktree, never resolves
// a revision: what touches untrusted input or policy is done once, by the
// client, for all drivers.
//
// # Errors
//
// [ErrObjectNotFound] reports a missing object, [ErrUnsupportedFormat] a hash
// function that the driver lacks, [ErrMalformedPack] and [ErrMalformedObject]
// bytes that are not what Git defines.
//
// # Limits
//
// [OpenOptions] and [PackOptions] carry the bounds that a driver must keep.
//
// # Concurrency
//
// A Driver is safe for concurrent use. A Store is safe for concurrent Get; the
// client never runs AddPack, Put or Pack of one Store at the same time as
// another call on it.
//
// # Telemetry
//
// None.
package driver
