// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"fmt"
	"io/fs"
	"syscall"
)

const noFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// identity changes with everything that can change a file's bytes.
func identity(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%x.%x.%x.%x.%x", st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
}
