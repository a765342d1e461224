// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package untar

import (
	"os"
	"time"
)

func isNotEmpty(error) bool { return false }

// setTime sets both times of the open file.
func setTime(f *os.File, at time.Time) error { return os.Chtimes(f.Name(), at, at) }
