// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"os/exec"
	"syscall"
)

// ownGroup puts the process in a group of its own, so that an interrupt typed
// at the terminal reaches the tests first, and so that it can be killed with
// its children.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
