// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/fail"
	"github.com/gitops-kit/sdk/git/internal/wire"
)

// ResolveOptions configure a resolution.
type ResolveOptions struct {
	// Known is what was resolved before; when it still holds, Resolved.Unchanged is set.
	Known Revision
}

// Resolved is a reference turned into one commit.
type Resolved struct {
	Reference Reference
	Ref       string // full reference name, empty for a bare commit
	Commit    Hash
	Tag       Hash // the annotated tag on the way, outermost; zero without
	Revision  Revision
	Unchanged bool   // equals ResolveOptions.Known
	Protocol  string // "https/2"; empty when no request was needed
	Notes     []Note

	seen seen
}

// seen is the proof that the server showed a commit to a credential.
type seen struct {
	client   *Client
	identity string
	at       time.Time
}

// listing is what the server listed, and how.
type listing struct {
	*wire.Listing
	version  int
	protocol string
	seen     seen
}

// listFor lists what a reference needs. With a mirror, callers that ask for the
// same at the same time share one request.
func (c *Client) listFor(ctx context.Context, w *want) (*listing, error) {
	if c.opts.Mirror != nil {
		return c.opts.Mirror.list(ctx, c, w)
	}
	return c.listNow(ctx, w)
}

func (c *Client) listNow(ctx context.Context, w *want) (*listing, error) {
	s, err := c.open(ctx, uploadPack, w.keep)
	if err != nil {
		return nil, err
	}
	defer s.close()
	l, err := s.refs(ctx, w.prefixes, w.keep)
	if err != nil {
		return nil, err
	}
	return &listing{l, s.version, s.protocol(), seen{c, s.identity(), time.Now()}}, nil
}

// Resolve turns a reference into a commit with one listing and no fetch. A
// Commit alone needs no request.
func (c *Client) Resolve(ctx context.Context, r Reference, o ResolveOptions) (*Resolved, error) {
	out, err := c.resolve(ctx, r, o)
	return out, c.wrap(ctx, "resolve", r.String(), err)
}

func (c *Client) resolve(ctx context.Context, r Reference, o ResolveOptions) (*Resolved, error) {
	w, err := r.check()
	if err != nil {
		return nil, err
	}
	if w.kind == kindCommit {
		out := &Resolved{Reference: r, Commit: w.commit, Revision: Revision{Pointer: r.Branch, Hash: w.commit}, Ref: w.name}
		if r.Branch == "" || out.Revision == o.Known {
			out.Unchanged = out.Revision == o.Known
			return out, nil
		}
	}
	l, err := c.listFor(ctx, w)
	if err != nil {
		return nil, err
	}
	ref, err := c.choose(ctx, w, l)
	if err != nil {
		return nil, err
	}
	out := &Resolved{Reference: r, Protocol: l.protocol, Notes: droppedNote(l.Dropped), seen: l.seen}
	out.fill(w, ref)
	if w.kind == kindCommit && out.Commit != w.commit {
		tip := out.tip()
		out.Commit, out.Tag, out.Revision.Hash = w.commit, Hash{}, w.commit
		if err := c.onBranch(ctx, tip, w.commit); err != nil {
			return nil, err
		}
	}
	out.Unchanged = out.Revision == o.Known
	fail.Point(fpAfterResolve)
	return out, nil
}

func (r *Resolved) fill(w *want, ref *wire.Ref) {
	r.Ref, r.Commit = ref.Name, ref.ID
	if !ref.Peeled.IsZero() && ref.Peeled != ref.ID {
		r.Tag, r.Commit = ref.ID, ref.Peeled
	}
	pointer := ""
	switch w.kind {
	case kindBranch, kindCommit:
		pointer = w.ref.Branch
	case kindTag, kindSemVer:
		pointer = strings.TrimPrefix(ref.Name, "refs/tags/")
	case kindName:
		pointer = w.ref.Name
		r.Ref = w.ref.Name
	default:
		pointer = "HEAD"
		if ref.Target != "" {
			r.Ref = ref.Target
			pointer = strings.TrimPrefix(ref.Target, "refs/heads/")
		}
	}
	r.Revision = Revision{Pointer: pointer, Hash: r.Commit}
}

// choose picks the reference out of the listing.
func (c *Client) choose(ctx context.Context, w *want, l *listing) (*wire.Ref, error) {
	if w.kind == kindSemVer {
		return c.chooseVersion(ctx, w, l)
	}
	for i := range l.Refs {
		if r := &l.Refs[i]; !r.Unborn && (r.Name == w.name || w.kind == kindHead && r.Name == "HEAD") {
			return r, nil
		}
	}
	if empty, err := c.empty(ctx, l); empty || err != nil {
		return nil, err
	}
	name := w.name
	if w.kind == kindHead {
		name = "HEAD"
	}
	return nil, fmt.Errorf("%q: %w", name, ErrRefNotFound)
}

// empty tells a repository without references from one that lacks the one
// asked for. It costs a request only on the way to an error.
func (c *Client) empty(ctx context.Context, l *listing) (bool, error) {
	if l.Any {
		return false, nil
	}
	if l.version == 2 {
		s, err := c.open(ctx, uploadPack, nothing)
		if err != nil {
			return false, err
		}
		defer s.close()
		all, err := s.refs(ctx, nil, nothing)
		if err != nil {
			return false, err
		}
		if all.Any {
			return false, nil
		}
	}
	return true, ErrEmptyRepository
}

// chooseVersion picks the greatest version in the range. Versions of equal
// precedence are told apart by the age of their commits, then by name.
func (c *Client) chooseVersion(ctx context.Context, w *want, l *listing) (*wire.Ref, error) {
	var best []*wire.Ref
	var top *semver.Version
	for i := range l.Refs {
		r := &l.Refs[i]
		v, err := semver.StrictNewVersion(strings.TrimPrefix(strings.TrimPrefix(r.Name, "refs/tags/"), "v"))
		if err != nil || !w.ranges.Check(v) {
			continue
		}
		switch cmp := compareVersions(v, top); {
		case cmp > 0:
			top, best = v, append(best[:0], r)
		case cmp == 0:
			best = append(best, r)
		}
	}
	switch len(best) {
	case 0:
		if empty, err := c.empty(ctx, l); empty || err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("range %q: %w", w.ref.SemVer, ErrNoSemverMatch)
	case 1:
		return best[0], nil
	}
	return c.newest(ctx, best)
}

func compareVersions(a, b *semver.Version) int {
	if b == nil {
		return 1
	}
	return a.Compare(b)
}

// newest picks the reference whose commit is the youngest.
func (c *Client) newest(ctx context.Context, refs []*wire.Ref) (*wire.Ref, error) {
	ids, shown := make([]driver.Hash, len(refs)), make([]driver.Hash, len(refs))
	for i, r := range refs {
		shown[i] = r.ID // what every server gives out: the tag, which brings its commit
		if ids[i] = r.ID; !r.Peeled.IsZero() {
			ids[i] = r.Peeled
		}
	}
	h, err := c.history(ctx, shown, 1)
	if err != nil {
		return nil, fmt.Errorf("compare tags of equal version: %w", err)
	}
	defer func() { _ = h.close() }()
	best := -1
	for i := range refs {
		commit, err := h.commit(ids[i])
		if err != nil {
			return nil, err
		}
		if best >= 0 {
			b, err := h.commit(ids[best])
			if err != nil {
				return nil, err
			}
			older := commit.Committer.When.Compare(b.Committer.When)
			if older < 0 || older == 0 && refs[i].Name < refs[best].Name {
				continue
			}
		}
		best = i
	}
	return refs[best], nil
}
