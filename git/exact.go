// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/git/internal/wire"
)

// fetched is the pack that holds one commit.
type fetched struct {
	pack     *packfile.Pack
	resolved *Resolved
	notes    []Note
	requests int
	received int64
	shallow  []driver.Hash
	plan     fetchPlan
	filtered bool // blobs were left out
	filters  bool // the server can
}

// fetchPlan says how much to fetch.
type fetchPlan struct {
	depth  int  // commits; 0 is everything
	filter bool // leave blobs out where the server can
}

// fetchExact fetches one commit. It asks for the object itself;
// a server that refuses is asked for references that lead to it.
func (c *Client) fetchExact(ctx context.Context, r *Resolved, plan fetchPlan, dir string) (*fetched, error) {
	s, err := c.open(ctx, uploadPack, nil)
	if err != nil {
		return nil, err
	}
	f := &fetched{resolved: r, plan: plan}
	p, err := c.fetchPack(ctx, s, f.want(s), dir)
	f.count(s)
	f.about(s)
	s.close()
	if errors.Is(err, errRefused) {
		return c.fetchRefused(ctx, f, dir, err)
	}
	if err != nil {
		return nil, err
	}
	f.pack = p
	return f, f.check()
}

// want asks for the tag where there is one: it is what the server advertises,
// and it brings the commit.
func (f *fetched) want(s *session) wire.Fetch {
	w := wire.Fetch{Wants: []driver.Hash{f.resolved.Commit}, Depth: s.depth(f.plan.depth)}
	if t := f.resolved.Tag; !t.IsZero() {
		w.Wants[0] = t
	}
	if f.plan.filter && s.version == 2 && s.filters() {
		w.Filter = "blob:none"
	}
	return w
}

func (f *fetched) count(s *session) {
	f.requests += s.requests
	f.received += s.received
	f.shallow = s.shallow
}

// about notes what the server cannot do.
func (f *fetched) about(s *session) {
	if s.version != 2 {
		f.note(ProtocolV0, "the server does not speak version 2")
	}
	if s.depth(1) == 0 {
		f.note(ShallowUnsupported, "the server has no shallow fetch; the whole history was fetched")
	}
	f.filters = s.version == 2 && s.filters()
	if f.filtered = f.plan.filter && f.filters; f.plan.filter && !f.filtered {
		f.note(FilterUnsupported, filterNote().Text)
	}
}

func (f *fetched) note(k NoteKind, text string) {
	for _, n := range f.notes {
		if n.Kind == k {
			return
		}
	}
	f.notes = append(f.notes, Note{k, text})
}

// check compares the object format; the id itself is looked up by the caller.
func (f *fetched) check() error {
	if f.pack.Len() > 0 && f.pack.ID(0).Format() != f.resolved.Commit.Format() {
		return errors.Join(fmt.Errorf("repository is %s: %w", f.pack.ID(0).Format(), ErrMismatch), f.pack.Close())
	}
	return nil
}

// fetchRefused goes on after the server refused the object: the reference may
// have moved, or the server gives out advertised ids only.
func (c *Client) fetchRefused(ctx context.Context, f *fetched, dir string, refused error) (*fetched, error) {
	r := f.resolved
	if r.Reference.Commit == "" {
		again, err := c.resolve(ctx, r.Reference, ResolveOptions{})
		if err != nil {
			return nil, err
		}
		f.requests++
		if again.Commit != r.Commit || again.Tag != r.Tag {
			f.note(RefMoved, fmt.Sprintf("from %s to %s", r.Commit, again.Commit))
			s, err := c.open(ctx, uploadPack, nil)
			if err != nil {
				return nil, err
			}
			defer s.close()
			f.resolved = again
			f.pack, err = c.fetchPack(ctx, s, f.want(s), dir)
			f.count(s)
			if err != nil {
				return nil, err
			}
			f.about(s)
			return f, f.check()
		}
	}
	return c.fetchByRef(ctx, f, dir, refused)
}

// refDepths are how far the search for a commit deepens; 0 is everything.
var refDepths = []int{1, 50, 500, 5000, 0} //nolint:gochecknoglobals // a table that never changes

// fetchByRef looks for the commit in the history of references: the one given
// or resolved, else all branches, else all tags.
func (c *Client) fetchByRef(ctx context.Context, f *fetched, dir string, refused error) (*fetched, error) {
	f.note(ExactFetchRefused, "the server gives out advertised objects only")
	f.filtered = false
	for _, prefix := range searched(f.resolved.Ref) {
		ids, err := c.tips(ctx, f, prefix)
		if err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			continue
		}
		ids, depths, err := c.narrow(ctx, f, ids)
		if err != nil {
			return nil, err
		}
		for _, depth := range depths {
			found, last, err := c.tryRefs(ctx, f, ids, depth, dir)
			if err != nil {
				return nil, err
			}
			if found {
				return f, f.check()
			}
			if last {
				break
			}
		}
	}
	return nil, fmt.Errorf("%s: %w: %w", f.resolved.Commit, ErrCommitNotFound, refused)
}

// narrow finds out how deep and below which tip the commit is, by its history
// without content, where the server filters. Elsewhere, and where it is not to
// be seen, everything is tried.
func (c *Client) narrow(ctx context.Context, f *fetched, ids []driver.Hash) ([]driver.Hash, []int, error) {
	if !f.filters {
		return ids, refDepths, nil
	}
	for _, depth := range refDepths {
		h, err := c.history(ctx, ids, depth)
		if errors.Is(err, errRefused) {
			return ids, refDepths, nil
		}
		if err != nil {
			return nil, nil, err
		}
		f.requests++
		tip, n, complete, err := h.distance(ids, f.resolved.Commit)
		if err = errors.Join(err, h.close()); err != nil {
			return nil, nil, err
		}
		if n > 0 {
			return []driver.Hash{tip}, []int{n}, nil
		}
		if complete || h.whole {
			break
		}
	}
	return nil, nil, nil
}

func (c *Client) tips(ctx context.Context, f *fetched, prefix string) ([]driver.Hash, error) {
	exact := !strings.HasSuffix(prefix, "/")
	keep := func(name []byte) bool {
		return exact && string(name) == prefix || !exact && len(name) > len(prefix) && string(name[:len(prefix)]) == prefix
	}
	s, err := c.open(ctx, uploadPack, keep)
	if err != nil {
		return nil, err
	}
	defer s.close()
	l, err := s.refs(ctx, []string{prefix}, keep)
	f.count(s)
	if err != nil {
		return nil, err
	}
	seen := map[driver.Hash]bool{}
	var ids []driver.Hash
	for _, r := range l.Refs {
		if !r.Unborn && !seen[r.ID] {
			seen[r.ID] = true
			ids = append(ids, r.ID)
		}
	}
	return ids, nil
}

// tryRefs fetches references to some depth. last says that deeper brings no more.
func (c *Client) tryRefs(ctx context.Context, f *fetched, ids []driver.Hash, depth int, dir string) (found, last bool, err error) {
	s, err := c.open(ctx, uploadPack, nil)
	if err != nil {
		return false, false, err
	}
	defer s.close()
	want := wire.Fetch{Wants: ids, Depth: s.depth(depth)}
	p, err := c.fetchPack(ctx, s, want, dir)
	f.count(s)
	if err != nil {
		return false, false, err
	}
	if _, ok := p.Find(f.resolved.Commit); ok {
		f.pack = p
		return true, true, nil
	}
	return false, want.Depth == 0 || len(s.shallow) == 0, p.Close() // without a boundary that was everything
}
