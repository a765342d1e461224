// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hygiene holds the tests that keep the repository in shape: what may
// import what, how long things may be, what every package must say about
// itself. It has no code of its own.
package hygiene
