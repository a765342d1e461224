//go:build !failpoints

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package objhash

import "github.com/gitops-kit/sdk/git/driver"

// attack is empty and inlined away in a build without the tag failpoints.
func attack(driver.Type, int64) []byte { return nil }
