// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package events sends what happened to an object to the Kubernetes API and to
// an HTTP sink, without ever delaying the caller.
//
// # Concepts
//
// [Recorder.Emit] puts an [Event] into a bounded queue per [Sink]; four senders
// per sink, sharded by object, keep the order of one object's events. Sinks are
// independent: one that is down does not delay the other. Equal events are sent
// once: a failure once per hour, anything else once until it changes.
//
// # Errors
//
// Emit has none. [Observe] counts what was sent, dropped or refused. A
// [*SinkError] carries the status of a refusing sink.
//
// # Limits
//
// 1,000 events per sink wait at most; overflow drops the oldest of type Normal
// or Trace first. The message is cut to 39,000 characters for HTTP and to 1,024
// bytes for Kubernetes. Shutdown drains for at most 10 seconds.
//
// # Concurrency
//
// A Recorder is safe for concurrent use.
//
// # Telemetry
//
// [Options.Observe] is called with sink and result: sent, dropped, failed,
// duplicate, invalid, lost.
package events
