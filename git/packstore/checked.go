// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packstore

import (
	"context"
	"errors"
	"io"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/packfile"
)

// CheckOptions bound a pack that is checked.
type CheckOptions struct {
	Format driver.Format
	// Dir is where the temporary file goes. Zero: the system's.
	Dir string
	// MaxObject and MaxDeltaDepth are as in driver.OpenOptions.
	MaxObject, MaxDeltaDepth int64
	// Base holds the bases of a thin pack. Nil: the pack must be complete.
	Base driver.Store
}

// Checked is a pack that is what Git defines: trailer, sizes, types, deltas.
// Reading it gives its bytes; a thin pack has been completed.
type Checked struct {
	io.Reader
	Stats driver.PackStats
	pack  *packfile.Pack
}

// Close removes the temporary file.
func (c *Checked) Close() error { return c.pack.Close() }

// Check reads a pack to its end and verifies it as a whole, for drivers whose
// library is less strict.
func Check(ctx context.Context, r io.Reader, o CheckOptions) (*Checked, error) {
	po := packfile.Options{
		Format: o.Format, Dir: o.Dir,
		Limits: packfile.Limits{Pack: -1, Inflated: -1, Object: o.MaxObject, Objects: -1, DeltaDepth: o.MaxDeltaDepth},
	}
	if o.Base != nil {
		po.Base = func(id driver.Hash) (driver.Type, []byte, error) { return o.Base.Get(ctx, id) }
	}
	p, err := packfile.Receive(ctx, r, po)
	if err != nil {
		return nil, err
	}
	st := driver.PackStats{Objects: p.Len(), Deltas: p.Deltas(), Bytes: p.Size()}
	if err := p.Complete(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return &Checked{Reader: io.NewSectionReader(p.File(), 0, p.Size()), Stats: st, pack: p}, nil
}
