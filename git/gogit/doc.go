// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gogit is the driver over go-git's object storage. It is the default.
//
// # Concepts
//
// A [Driver] opens the directory objects/ of a repository with go-git's file
// system storage. Of go-git only the object database is used: no transport, no
// worktree, no revision parser.
//
// # Errors
//
// Those of package driver.
//
// # Limits
//
// driver.OpenOptions bound objects.
//
// # Concurrency
//
// A Driver is safe for concurrent use; a store serialises its calls.
//
// # Telemetry
//
// None.
package gogit
