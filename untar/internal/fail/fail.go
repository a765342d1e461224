//go:build !failpoints

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fail marks the places where a crash test may end the process. In a
// build without the tag failpoints every call is empty and inlined away.
package fail

// Point marks a step.
func Point(string) {}

// Err marks a step that can be made to return an error.
func Err(string) error { return nil }
