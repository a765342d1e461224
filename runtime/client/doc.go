// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package client pools the clients by which a controller works on its own
// cluster and on others, as itself or as a tenant.
//
// # Concepts
//
// A [Target] names a cluster and an identity. [Pool.Get] returns the [*Client]
// of a target: one HTTP transport per server and credential, shared by all
// identities impersonated with it; one discovery and RESTMapper likewise.
// [Shared] keeps one value of a caller's type per pooled client, such as an
// engine's client. Inside a run of the reconcile harness a client is released
// when the run ends; elsewhere call [Client.Release].
//
// # Errors
//
// [*TargetError] reports a target that cannot be used, such as a service
// account whose name is not a DNS name. [*UnreachableError] reports a server
// that does not answer; its Scope is the server, so that other objects of the
// same server wait, too. [*GroupUnavailableError] reports an API group whose
// discovery fails.
//
// # Limits
//
// 500 clients, 30 minutes idle; 30 seconds to reach a server; one refresh of
// discovery per second and group.
//
// # Concurrency
//
// A Pool and its clients are safe for concurrent use.
//
// # Telemetry
//
// [Options.OnHit], [Options.OnDiscovery], [Options.OnSize].
package client
