// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package packstore is an object database of packs and loose objects, in the
// layout of Git, for SHA-1 and SHA-256.
//
// # Concepts
//
// A [Driver] opens the directory objects/ of a repository. Packs become
// visible by a rename after they and their index are on disk.
//
// # Errors
//
// Those of package driver.
//
// # Limits
//
// driver.OpenOptions bound objects and delta chains.
//
// # Concurrency
//
// A Driver is safe for concurrent use; a store is safe for concurrent Get.
//
// # Telemetry
//
// None.
package packstore
