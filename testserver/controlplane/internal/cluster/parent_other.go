// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package cluster

// watchParent does nothing: without a death signal, the end of standard input
// is how this program learns that its parent is gone.
func watchParent(func()) {}
