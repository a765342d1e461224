// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package queue is a work queue that is fair between tenants and between kinds
// of work.
//
// # Concepts
//
// Keys are deduplicated; one key is processed by one worker at a time. Tenants
// with pending work take turns, one key per turn, and a tenant has at most half
// of the workers while another one waits. Within a tenant a key waits in a
// [Class]; the classes are served 8 : 3 : 1, so that none starves. A key moves
// up when it is added with a higher class.
//
// # Errors
//
// None.
//
// # Limits
//
// None but memory: about 300 bytes per key.
//
// # Concurrency
//
// A Queue is safe for concurrent use.
//
// # Telemetry
//
// [Options.OnWait] is called with class and waiting time of each key that is
// taken.
package queue
