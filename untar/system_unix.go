// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package untar

import (
	"errors"
	"os"
	"syscall"
	"time"
)

func isNotEmpty(err error) bool {
	return errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.ENOTDIR)
}

// setTime sets both times on the open descriptor.
func setTime(f *os.File, at time.Time) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	tv := syscall.NsecToTimeval(at.UnixNano())
	var serr error
	err = c.Control(func(fd uintptr) { serr = syscall.Futimes(int(fd), []syscall.Timeval{tv, tv}) })
	if err != nil {
		return err
	}
	return serr
}
