// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package tarball

// openFlags has no meaning here.
const openFlags = 0
