// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the manager as a process: against a real API server, with
// real Git servers, one namespace and one manager per test.
package e2e
