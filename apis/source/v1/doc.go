// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1 holds the types of the API group source.toolkit.fluxcd.io/v1:
// GitRepository, OCIRepository, HelmRepository, HelmChart, Bucket and
// ExternalArtifact.
//
// # Concepts
//
// Every kind describes where content comes from; its status has one artifact,
// an immutable file that other controllers fetch by URL and verify by digest.
// [Source] is what they all have in common. An ExternalArtifact has no
// controller here: others write its status.
//
// # Errors
//
// None. Fields that cannot be used are found by the controllers and by the
// API server.
//
// # Limits
//
// Durations are between one second and 8,760 hours.
//
// # Concurrency
//
// Values follow the usual rule: concurrent readers or one writer.
//
// # Telemetry
//
// None.
package v1

// +kubebuilder:object:generate=true
// +groupName=source.toolkit.fluxcd.io
