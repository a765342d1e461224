// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import "time"

// SetHook sets what is called before each operation on an entry.
func SetHook(c *Cache, f func(op, name string)) { c.hook = f }

// RememberBad sets how long a mismatch is remembered.
func RememberBad(c *Cache, d time.Duration) { c.badFor = d }
