// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics registers and feeds the Prometheus series of a controller.
//
// # Concepts
//
// [New] registers the series with a registerer of the caller's; a second
// registration with the same registerer returns the same series. A nil
// [*Recorder] records nothing. Labels are kinds, namespaces, names and
// constants, never other user data.
//
// # Errors
//
// New returns the error of the registerer.
//
// # Limits
//
// One histogram of 12 series per object, and at most 13 more with
// [Options.State]. The series of an object are deleted with [Recorder.Delete].
//
// # Concurrency
//
// A Recorder is safe for concurrent use.
//
// # Telemetry
//
// gotk_reconcile_duration_seconds, gotk_reconcile_condition, gotk_suspend_status,
// gotk_token_cache_events_total, gotk_token_cached_items,
// gotk_token_cache_requests_total, gotk_token_cache_evictions_total,
// gotk_cache_events_total, gotk_inventory_bytes,
// gotk_reconcile_step_duration_seconds, gotk_queue_wait_seconds, gotk_parked,
// gotk_status_writes_total, gotk_events_total, gotk_client_pool_size,
// gotk_client_pool_hits_total, gotk_client_pool_discovery_total,
// gotk_panics_total, gotk_ssa_decisions_total.
package metrics
