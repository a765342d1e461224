// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kustomizetest checks implementations of [kustomize.SchemaRunner].
//
// # Concepts
//
// [RunSchemaRunner] builds trees that bring an OpenAPI schema, once in this
// process and once through the runner, and compares the objects byte for byte.
//
// # Errors
//
// Differences fail the test.
//
// # Limits
//
// None of its own.
//
// # Concurrency
//
// The suite runs its cases one after the other.
//
// # Telemetry
//
// None.
package kustomizetest
