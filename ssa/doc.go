// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ssa plans, applies, compares, waits for and deletes sets of
// Kubernetes objects with server-side apply.
//
// # Concepts
//
// A [Manager] acts for one [Owner], the name under which a set is applied, on
// one [Cluster], an API server as one identity sees it. [Manager.Plan] decides
// per object: create, update, recreate, unchanged, skip, deferred or blocked.
// It never stops at the first error. [Manager.Apply] executes a plan stage by
// stage and says what happened to each object, also when it fails half-way.
// [Manager.Wait] watches until the objects are ready. [Manager.PlanPrune] and
// [Manager.Delete] remove what left the set; package inventory remembers what
// that can be.
//
// An object is proved unchanged, without a request of its own, when the fields
// recorded for our manager are exactly the desired ones and every desired
// value equals the live one. Live objects come from one LIST per kind and
// namespace. What cannot be proved is rehearsed by a dry-run, and now and then
// everything is: see [PlanOptions] and [Verification].
//
// # Errors
//
// [*PlanError], [*ApplyError] and [*DeleteError] hold one [*ObjectError] per
// object, [*WaitError] the objects that are not ready, [*PruneBlockedError]
// refuses a whole prune. All tell a controller what to do through Reason and
// Terminal. What an API server says about Secrets is withheld.
//
// # Limits
//
// [Limits] lists every bound and its default; a [*LimitError] names the one
// exceeded.
//
// # Concurrency
//
// A Manager, a Cluster and a Memo are safe for concurrent use. Inputs are
// never modified, and results share nothing with them.
//
// # Telemetry
//
// None by itself: [ClusterOptions.Observe] sees every request,
// [Options.Progress] every object.
package ssa
