// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/git/driver"
)

// ListOptions select references.
type ListOptions struct {
	// Prefixes keep the references whose full name begins with one of them,
	// "HEAD" included. Nil: everything.
	Prefixes []string
}

// Ref is a reference of the remote.
type Ref struct {
	Name   string // full, or "HEAD"
	Hash   Hash
	Peeled Hash   // what an annotated tag leads to; zero otherwise
	Target string // what a symbolic reference points to
}

// Refs is a listing.
type Refs struct {
	Refs []Ref // in the server's order, which is by name
	// Head is the branch that HEAD points to, also when it does not exist yet.
	Head     string
	Format   driver.Format
	Protocol string
	Notes    []Note
}

// List lists references, as git ls-remote does.
func (c *Client) List(ctx context.Context, o ListOptions) (*Refs, error) {
	out, err := c.list(ctx, o)
	return out, c.wrap(ctx, "list", "", err)
}

func (c *Client) list(ctx context.Context, o ListOptions) (*Refs, error) {
	for _, p := range o.Prefixes {
		if control(p) || strings.ContainsAny(p, " ~^:?*[\\") || len(p) > 1024 {
			return nil, fmt.Errorf("prefix %q: %w", p, ErrInvalidRef)
		}
	}
	keep := func(name []byte) bool {
		if len(o.Prefixes) == 0 {
			return true
		}
		for _, p := range o.Prefixes {
			if len(name) >= len(p) && string(name[:len(p)]) == p {
				return true
			}
		}
		return false
	}
	s, err := c.open(ctx, uploadPack, keep)
	if err != nil {
		return nil, err
	}
	defer s.close()
	l, err := s.refs(ctx, o.Prefixes, keep)
	if err != nil {
		return nil, err
	}
	out := &Refs{Format: s.format, Protocol: s.protocol(), Notes: droppedNote(l.Dropped)}
	for _, r := range l.Refs {
		if r.Name == "HEAD" {
			out.Head = r.Target
		}
		if !r.Unborn {
			out.Refs = append(out.Refs, Ref{Name: r.Name, Hash: r.ID, Peeled: r.Peeled, Target: r.Target})
		}
	}
	return out, nil
}
