// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package shared

import (
	"fmt"
	"io/fs"
)

const noFollow = 0

func identity(info fs.FileInfo) string {
	return fmt.Sprintf("%x.%x", info.Size(), info.ModTime().UnixNano())
}
