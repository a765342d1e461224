// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package helmserver is a Helm chart repository: an index and chart archives,
// packed from files by this package itself, with no Helm code involved.
//
// # Concepts
//
// [Server.AddChart] packs a chart and lists it in index.yaml. [Package] does
// only the packing, for charts that go to an OCI registry:
// [Chart.Artifact] is what to push there. The index is the same for the same charts: its
// times are fixed.
//
// # Errors
//
// Methods that add charts report a failure through the test, or, under [Run],
// through [Server.Err].
//
// # Limits
//
// None; everything is in memory.
//
// # Concurrency
//
// A Server is safe for concurrent use.
package helmserver
