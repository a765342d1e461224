// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"os"

	"golang.org/x/sys/unix"
)

// redirectStderr makes the log file the standard error of this process, for
// everything that writes there: klog, panics, other libraries. It returns the
// standard error that was.
func redirectStderr(log string) (*os.File, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	old, err := unix.FcntlInt(uintptr(unix.Stderr), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	if err := dup2(int(f.Fd()), unix.Stderr); err != nil {
		return nil, os.NewSyscallError("dup2", err)
	}
	return os.NewFile(uintptr(old), "stderr"), nil
}
