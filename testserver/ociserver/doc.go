// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ociserver is a registry that speaks the OCI distribution protocol:
// pull, push, tags, referrers, deletion, token authentication, and lies on
// request.
//
// # Concepts
//
// Clients push and pull over HTTP; a test puts content in directly with
// [Server.Push], [Server.PushIndex] and [Server.PushBlob]. [Server.SetRawBlob] and
// [Server.SetRawManifest] store bytes under a digest or tag they do not belong
// to. [Options] take protocol features away; [Options.OnManifest] runs when a
// manifest is asked for, which is the moment to move a tag.
//
// # Errors
//
// Methods that store content report a failure through the test, or, under
// [Run], through [Server.Err].
//
// # Limits
//
// A manifest is at most 4 MiB. Blobs are kept in a temporary directory that is
// removed when the server stops.
//
// # Concurrency
//
// A Server is safe for concurrent use.
package ociserver
