// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dir

// SetHook sets what is asked before each operation that changes something.
func SetHook(d *Driver, f func(op, name string) error) { d.hook = f }
