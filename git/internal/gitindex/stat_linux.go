// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitindex

import (
	"io/fs"
	"syscall"
)

func system(i fs.FileInfo) Stat {
	st, ok := i.Sys().(*syscall.Stat_t)
	if !ok {
		return Stat{}
	}
	return Stat{
		CtimeSec: uint32(st.Ctim.Sec), CtimeNsec: uint32(st.Ctim.Nsec), //nolint:gosec // the format has 32 bits
		Dev: uint32(st.Dev), Ino: uint32(st.Ino), UID: st.Uid, GID: st.Gid, //nolint:gosec // the format has 32 bits
	}
}
