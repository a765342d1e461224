// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kustomize is the kustomize controller: for each Kustomization it
// fetches one artifact, builds it, applies the objects server-side as the
// right identity, removes what the set no longer contains, waits for health
// and corrects drift.
//
// # Concepts
//
// [Options] is everything a main function needs. [Reconciler.Reconcile] is a
// list of steps; adapters without I/O turn the spec into options of the
// engines: [BuildOptions], [PlanOptions], [PruneOptions], [HealthRules],
// [DependencyReady].
//
// Absence is never intent: a run in which anything failed before or during
// the apply deletes nothing. What may exist in the cluster is in the stored
// inventory before it is written.
//
// # Errors
//
// A run ends with a [*RunError], which carries the reason of the Ready
// condition and whether a retry is pointless.
//
// # Limits
//
// Those of the engines; --limit=name=value changes one.
//
// # Concurrency
//
// A Reconciler is safe for concurrent use by the workers of one manager.
//
// # Telemetry
//
// The metrics, events and spans of the runtime module; nothing of its own.
package kustomize
