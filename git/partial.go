// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/wire"
	"github.com/gitops-kit/sdk/git/internal/worktree"
)

// blobBatch bounds the blobs of one request.
const blobBatch = 20_000

// complete fetches the blobs that a filtered fetch left out and the sparse set
// needs.
func (s *snapshot) complete(ctx context.Context) error {
	if !s.from.filtered {
		return nil
	}
	need, err := s.needed()
	if err != nil {
		return err
	}
	return s.ensure(ctx, need)
}

// needed lists the blobs of the sparse set, each once.
func (s *snapshot) needed() ([]Hash, error) {
	w, err := worktree.NewWalker(source{s.db.reader()}, s.commit.Tree, s.sparse, s.c.opts.Limits.tree())
	if err != nil {
		return nil, err
	}
	maxFiles := limits.Or(s.c.opts.Limits.Files, 200_000)
	seen := map[Hash]struct{}{}
	var out []Hash
	var step worktree.Step
	for n := int64(1); ; n++ {
		more, err := w.Next(&step)
		if err != nil {
			return nil, err
		}
		if !more {
			return out, s.sparse.Missing()
		}
		if err := limits.Check("worktree-files", maxFiles, n); err != nil {
			return nil, err
		}
		if step.Kind == worktree.Leave {
			n--
			continue
		}
		if step.Kind != worktree.File || step.Entry.Mode == object.ModeGitlink {
			continue
		}
		if _, ok := seen[step.Entry.Hash]; !ok {
			seen[step.Entry.Hash] = struct{}{}
			out = append(out, step.Entry.Hash)
		}
	}
}

// ensure fetches the listed blobs that are not here yet.
func (s *snapshot) ensure(ctx context.Context, ids []Hash) error {
	if !s.from.filtered {
		return nil
	}
	r := s.db.reader()
	var missing []Hash
	for _, id := range ids {
		if _, _, err := r.stat(id); errors.Is(err, driver.ErrObjectNotFound) {
			missing = append(missing, id)
		} else if err != nil {
			return err
		}
	}
	for len(missing) > 0 {
		n := min(blobBatch, len(missing))
		err := s.more(ctx, wire.Fetch{Wants: missing[:n]})
		if errors.Is(err, errRefused) {
			return s.unfiltered(ctx)
		}
		if err != nil {
			return err
		}
		missing = missing[n:]
	}
	return nil
}

// more fetches another pack of the same repository.
func (s *snapshot) more(ctx context.Context, f wire.Fetch) error {
	ss, err := s.c.open(ctx, uploadPack, nil)
	if err != nil {
		return err
	}
	defer ss.close()
	p, err := s.c.fetchPack(ctx, ss, f, s.dir)
	s.out.Stats.Requests += ss.requests
	s.out.Stats.Received += ss.received
	if err != nil {
		return err
	}
	s.out.Stats.Objects += p.Len()
	s.own.add(p)
	return s.line.spend(p, s.root.c.opts.Limits.pack())
}

// unfiltered fetches everything, from a server that filters but does not give
// out single blobs.
func (s *snapshot) unfiltered(ctx context.Context) error {
	s.from.filtered = false
	s.out.Notes = append(s.out.Notes, filterNote())
	want := s.from.resolved.Commit
	if t := s.from.resolved.Tag; !t.IsZero() {
		want = t
	}
	if err := s.more(ctx, wire.Fetch{Wants: []Hash{want}, Depth: 1}); err != nil {
		return fmt.Errorf("without filter: %w", err)
	}
	return nil
}

func filterNote() Note {
	return Note{FilterUnsupported, "the server does not filter objects; everything was fetched"}
}
