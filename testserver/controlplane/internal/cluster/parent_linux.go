// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// watchParent calls died when the parent process is gone. The kernel sends
// the signal also when only the thread that started this process ends, so the
// parent's id decides.
func watchParent(died func()) {
	parent := os.Getppid()
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	// An error leaves the end of standard input as the only sign.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGUSR1), 0, 0, 0)
	go func() {
		for os.Getppid() == parent {
			<-c
		}
		died()
	}()
}
