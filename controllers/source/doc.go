// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package source is the source controller: it watches Git repositories and
// keeps, for each GitRepository, one verified and immutable artifact that
// other controllers download over HTTP.
//
// # Concepts
//
// [Options] is everything a main function needs: name, flags and set-up. The
// controller itself is a list of steps, [GitReconciler.Reconcile]; what it
// knows beyond the engines is in three adapters without I/O: [GitOptions]
// turns a GitRepository and its Secrets into options of the git client,
// [Inputs] says what an artifact was made from, and [Reason] turns an
// engine's error into a condition.
//
// A failing repository never takes the last good artifact away: the status
// keeps it, and the file stays where it is.
//
// # Errors
//
// A run ends with a [*RunError], which carries the condition, its reason and
// what happens next.
//
// # Limits
//
// Every limit of the git and artifact engines applies; --limit=name=value
// changes one.
//
// # Concurrency
//
// A reconciler is safe for concurrent use by the workers of one manager. One
// process writes a storage directory at a time. Replicas that share a registry
// all serve artifacts; the leader writes them.
//
// # Telemetry
//
// The metrics, events and spans of the runtime module; nothing of its own.
package source
