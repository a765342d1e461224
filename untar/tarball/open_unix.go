// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package tarball

import "syscall"

// openFlags keep an open from waiting for the other end of a FIFO.
const openFlags = syscall.O_NONBLOCK
