// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1 holds the types of the API group kustomize.toolkit.fluxcd.io/v1:
// Kustomization.
//
// # Concepts
//
// A Kustomization builds the manifests of one artifact, applies them, deletes
// what the set no longer contains, and waits until what it applied is healthy.
//
// # Errors
//
// None. Fields that cannot be used are found by the controller and by the API
// server.
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
// +groupName=kustomize.toolkit.fluxcd.io
