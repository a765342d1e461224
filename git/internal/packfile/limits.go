// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"math"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
)

// Limits bound a pack. Every field must be positive; see [Limits.Fill].
type Limits struct {
	Pack, Inflated, Object, Objects, DeltaDepth int64
}

// Fill replaces zero by the default and negative values by no bound.
func (l Limits) Fill() Limits {
	return Limits{
		Pack:       min(limits.Or(l.Pack, 1<<30), maxOffset),
		Inflated:   limits.Or(l.Inflated, 4<<30),
		Object:     limits.Or(l.Object, 256<<20),
		Objects:    min(limits.Or(l.Objects, 2_000_000), math.MaxInt32-1),
		DeltaDepth: limits.Or(l.DeltaDepth, 4095),
	}
}

// Base finds an object outside the pack, for deltas of a thin pack. A nil
// Base means that the pack must be complete.
type Base func(id driver.Hash) (driver.Type, []byte, error)
