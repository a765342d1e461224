// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/git/internal/wire"
)

// maxHistory bounds the commits of a proof.
const maxHistory = 1_000_000

// history is a set of commits, for questions about ancestry and age.
type history struct {
	r     objectReader
	meta  int64
	whole bool // nothing was cut off
	end   func() error
}

// history fetches the commits reachable from ids, depth deep; 0 is everything.
func (c *Client) history(ctx context.Context, ids []Hash, depth int) (*history, error) {
	dir, remove, err := c.tempDir()
	if err != nil {
		return nil, err
	}
	s, err := c.open(ctx, uploadPack, nil)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	defer s.close()
	f := wire.Fetch{Wants: ids, Depth: s.depth(depth)}
	if s.filters() {
		f.Filter = "tree:0"
	}
	p, err := c.fetchPack(ctx, s, f, dir)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	h := &history{r: (&packs{list: []*packfile.Pack{p}}).reader(), meta: c.opts.Limits.meta(), whole: f.Depth == 0}
	h.end = func() error { return errors.Join(p.Close(), remove()) }
	return h, nil
}

func (h *history) close() error { return h.end() }

func (h *history) commit(id Hash) (*object.Commit, error) { return readCommit(h.r, id, h.meta) }

// reaches walks from tip to what counts as arrived. begun says that the tip is
// there at all, complete that the walk met every parent.
func (h *history) reaches(tip Hash, arrived func(Hash) bool) (found, begun, complete bool, err error) {
	seen := map[Hash]struct{}{tip: {}}
	todo := []Hash{tip}
	complete = true
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		c, err := h.commit(id)
		if errors.Is(err, driver.ErrObjectNotFound) {
			complete = false
			continue
		}
		if err != nil {
			return false, begun, false, err
		}
		begun = true
		for _, p := range c.Parents {
			if arrived(p) {
				return true, true, true, nil
			}
			if _, ok := seen[p]; !ok {
				seen[p] = struct{}{}
				todo = append(todo, p)
			}
		}
		if err := limits.Check("git-objects", maxHistory, int64(len(seen))); err != nil {
			return false, true, false, err
		}
	}
	return false, begun, complete, nil
}

// distance is the depth at which a fetch of one of the ids brings a commit, and
// that id; 0 when it is not there. complete says that there is no more history.
func (h *history) distance(ids []Hash, commit Hash) (from Hash, depth int, complete bool, err error) {
	type place struct{ id, from Hash }
	seen := map[Hash]struct{}{}
	var level []place
	for _, id := range ids {
		level = append(level, place{id, id})
	}
	complete = true
	for depth = 1; len(level) > 0; depth++ {
		var next []place
		for _, p := range level {
			c, err := h.peeled(p.id)
			if errors.Is(err, driver.ErrObjectNotFound) {
				complete = false
				continue
			}
			if errors.Is(err, ErrNotACommit) {
				continue // a tag of something else
			}
			if err != nil {
				return Hash{}, 0, false, err
			}
			if c.Hash == commit {
				return p.from, depth, true, nil
			}
			for _, parent := range c.Parents {
				if _, ok := seen[parent]; !ok {
					seen[parent] = struct{}{}
					next = append(next, place{parent, p.from})
				}
			}
		}
		if err := limits.Check("git-objects", maxHistory, int64(len(seen))); err != nil {
			return Hash{}, 0, false, err
		}
		level = next
	}
	return Hash{}, 0, complete, nil
}

// peeled reads a commit, by way of tags.
func (h *history) peeled(id Hash) (*object.Commit, error) {
	for range 10 {
		t, _, err := h.r.stat(id)
		if err != nil {
			return nil, err
		}
		if t != driver.Tag {
			return h.commit(id)
		}
		_, raw, err := h.r.get(id)
		if err != nil {
			return nil, err
		}
		tag, err := object.ParseTag(id, raw)
		if err != nil {
			return nil, err
		}
		id = tag.Target
	}
	return nil, ErrNotACommit
}

// tip is a commit whose history is asked for, and how to ask for it.
type tip struct {
	commit Hash
	shown  Hash   // what the server advertises for it: the tag, where there is one
	ref    string // the reference it comes from; empty for a bare commit
}

func (r *Resolved) tip() tip {
	t := tip{commit: r.Commit, shown: r.Commit, ref: strings.TrimSuffix(r.Ref, "^{}")}
	if !r.Tag.IsZero() {
		t.shown = r.Tag
	}
	return t
}

// searched lists where a commit is looked for that the server does not give
// out by its id: the reference it comes from, else all branches, then all tags.
func searched(ref string) []string {
	if ref = strings.TrimSuffix(ref, "^{}"); ref != "" {
		return []string{ref}
	}
	return []string{"refs/heads/", "refs/tags/"}
}

// proofDepths are how far a proof of ancestry deepens, step by step; 0 is everything.
var proofDepths = []int{64, 1024, 0} //nolint:gochecknoglobals // a table that never changes

// onBranch proves that commit is an ancestor of tip.
func (c *Client) onBranch(ctx context.Context, t tip, commit Hash) error {
	found, err := c.descends(ctx, t, commit)
	if err == nil && !found {
		return fmt.Errorf("%s: %w", commit, ErrCommitNotOnBranch)
	}
	return err
}

// forward proves that what was fetched descends from a commit seen before.
func (c *Client) forward(ctx context.Context, r *Resolved, from Hash) error {
	if from.IsZero() {
		return nil
	}
	ok, err := c.descends(ctx, r.tip(), from)
	if err == nil && !ok {
		return fmt.Errorf("%s from %s: %w", r.Commit, from, ErrRollback)
	}
	return err
}

// descends reports whether ancestor is reachable from a tip, fetching commits
// only. What was proved once the mirror knows.
func (c *Client) descends(ctx context.Context, t tip, ancestor Hash) (found bool, err error) {
	if t.commit == ancestor {
		return true, nil
	}
	known, err := c.proofs(ctx, t.commit.Format())
	if err != nil {
		return false, err
	}
	defer closed(&err, known.done)
	if known.has(t.commit, ancestor) {
		return true, nil
	}
	arrived := func(id Hash) bool { return id == ancestor || known.has(id, ancestor) }
	found, begun, err := c.prove(ctx, []Hash{t.shown}, t.commit, true, arrived)
	if errors.Is(err, errRefused) {
		found, begun, err = c.proveByRef(ctx, t, arrived, err)
	}
	if err == nil && !begun {
		err = fmt.Errorf("pack lacks the commit %s: %w", t.commit, ErrMismatch)
	}
	if err != nil || !found {
		return false, err
	}
	known.add(t.commit, ancestor)
	return true, nil
}

// prove deepens the history of what the server shows until the question is
// answered. begun says that the commit was met; direct, that it must be at once.
func (c *Client) prove(ctx context.Context, shown []Hash, commit Hash, direct bool, arrived func(Hash) bool) (found, begun bool, err error) {
	for _, depth := range proofDepths {
		h, err := c.history(ctx, shown, depth)
		if err != nil {
			return false, begun, err
		}
		found, met, complete, err := h.reaches(commit, arrived)
		begun = begun || met
		if err = errors.Join(err, h.close()); err != nil || found || complete || h.whole || direct && !met {
			return found, begun, err
		}
	}
	return false, begun, nil
}

// proveByRef is prove for a server that gives out advertised objects only.
func (c *Client) proveByRef(ctx context.Context, t tip, arrived func(Hash) bool, refused error) (found, begun bool, err error) {
	for _, prefix := range searched(t.ref) {
		ids, err := c.tips(ctx, &fetched{}, prefix)
		if err != nil {
			return false, false, err
		}
		if len(ids) == 0 {
			continue
		}
		if found, begun, err = c.prove(ctx, ids, t.commit, false, arrived); err != nil || begun {
			return found, begun, err
		}
	}
	return false, false, fmt.Errorf("%s: %w: %w", t.commit, ErrCommitNotFound, refused)
}
