// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package dir

import (
	"fmt"
	"io/fs"
	"math"
	"os"
)

// openFlags has no meaning here.
const openFlags = 0

// tryLock does nothing: one writing process is up to the caller here.
func tryLock(*os.File) error { return nil }

func space(string) (free, total int64, err error) { return math.MaxInt64, math.MaxInt64, nil }

func inode(fs.FileInfo) uint64 { return 0 }

func identity(info fs.FileInfo) string {
	return fmt.Sprintf("%x.%x", info.Size(), info.ModTime().UnixNano())
}
