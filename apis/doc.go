// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apis is the root of the API types: one folder per group and version.
//
// # Concepts
//
// Import source/v1, kustomize/v1, helm/v2, notification/v1,
// notification/v1beta3 or image/v1; what they share is in the module
// apis/meta. This package itself declares nothing.
package apis
