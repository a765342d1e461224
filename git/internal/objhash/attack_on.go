//go:build failpoints

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package objhash

import (
	"sync/atomic"

	"github.com/gitops-kit/sdk/git/driver"
)

var attacks atomic.Pointer[func(driver.Type, int64) []byte] //nolint:gochecknoglobals // in builds for tests only

// Attack makes hashers of SHA-1 ids hash what f returns before every object,
// until it is called with nil. Nobody can afford an object that is half of a
// collision, for its header would have to be in front of it; with the blocks of
// a published collision in front, the hash has one to find.
func Attack(f func(driver.Type, int64) []byte) {
	if f == nil {
		attacks.Store(nil)
		return
	}
	attacks.Store(&f)
}

func attack(t driver.Type, size int64) []byte {
	f := attacks.Load()
	if f == nil {
		return nil
	}
	return (*f)(t, size)
}
