// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package proc

import "syscall"

// attributes put a program in a group of its own that ends with this process.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
