// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package fetch

import "os"

// lockDir finds every directory in use, so that each process works in a
// private one.
func lockDir(string) (*os.File, error) { return nil, nil }

// lockLeft finds every directory in use.
func lockLeft(string) (*os.File, error) { return nil, nil }

// privateDir makes a private directory below parent.
func privateDir(parent string) (string, *os.File, error) {
	dir, err := os.MkdirTemp(parent, privatePrefix)
	return dir, nil, err
}
