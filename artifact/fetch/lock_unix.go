// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package fetch

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// lockDir locks a directory for this process; nil if another one has it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, err
	}
	return f, nil
}
