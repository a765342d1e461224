// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// UpdateOptions configure [Client.Update].
type UpdateOptions struct {
	// Attempts bounds how often the change is made. Zero: 3.
	Attempts int
	// Clone configures the working copy.
	Clone CloneOptions
	// Push configures the push; the branch itself is added to its updates.
	Push PushOptions
	// Base is where work starts when the branch does not exist, or always with
	// ForceFromBase. Zero: the remote's HEAD.
	Base Reference
	// ForceFromBase starts at Base and replaces the branch, as long as it is
	// where it was last seen.
	ForceFromBase bool
}

// UpdateResult is what an update did.
type UpdateResult struct {
	Commit    *Commit // nil when nothing changed
	Base      Hash    // what the change was made on
	Unchanged bool
	Attempts  int
	Pushed    []RefResult
}

// Update makes a change on a branch and pushes it: a fresh working copy, fn
// edits its files, commit, push. When the branch moved meanwhile, everything
// starts again from the new tip, fn included, so that nobody's commit is lost.
// Without a change nothing is pushed.
func (c *Client) Update(ctx context.Context, branch string, fn func(context.Context, *Repository) (CommitOptions, error), o UpdateOptions) (*UpdateResult, error) {
	res, err := c.update(ctx, branch, fn, o)
	return res, c.wrap(ctx, "update", branch, err)
}

func (c *Client) update(ctx context.Context, branch string, fn func(context.Context, *Repository) (CommitOptions, error), o UpdateOptions) (*UpdateResult, error) {
	if _, err := (Reference{Branch: branch}).check(); err != nil || branch == "" {
		return nil, fmt.Errorf("branch %q: %w", branch, errors.Join(ErrInvalidRef, err))
	}
	if err := o.Clone.check(); err != nil {
		return nil, err
	}
	attempts := o.Attempts
	if attempts <= 0 {
		attempts = 3
	}
	for n := 1; ; n++ {
		res, err := c.updateOnce(ctx, branch, fn, o)
		if res != nil {
			res.Attempts = n
		}
		if errors.Is(err, ErrPushRejected) && n < attempts {
			err = c.overtaken(ctx, res.Pushed, err)
		}
		if err == nil || !errors.Is(err, ErrNonFastForward) || n >= attempts {
			return res, err
		}
		wait := min(100*time.Millisecond<<min(n-1, 5), 2*time.Second)
		if perr := pause(ctx, wait/2+jitter(wait/2)); perr != nil {
			return res, errors.Join(perr, err)
		}
	}
}

// overtakenChecks is how often the references are looked at after a rejection,
// with twice the wait each time: 1.5 s in all.
const overtakenChecks = 4

// overtaken finds out what a rejection was. A server says the same of a rule that
// it enforces and of a reference that somebody else is about to move; the second
// shows a little later, and is a [*NonFastForwardError] then. What rejected says
// stays otherwise.
func (c *Client) overtaken(ctx context.Context, pushed []RefResult, rejected error) error {
	var prefixes []string
	for _, u := range pushed {
		if !u.OK {
			prefixes = append(prefixes, u.Ref)
		}
	}
	for n := range overtakenChecks {
		if err := pause(ctx, 100*time.Millisecond<<n); err != nil {
			return errors.Join(rejected, err)
		}
		l, err := c.list(ctx, ListOptions{Prefixes: prefixes})
		if err != nil {
			return errors.Join(rejected, err)
		}
		at := map[string]Hash{}
		for _, r := range l.Refs {
			at[r.Name] = r.Hash
		}
		for _, u := range pushed {
			now, there := at[u.Ref]
			if !u.OK && (there && now != u.Old || !there && !u.Old.IsZero()) {
				return &NonFastForwardError{Ref: u.Ref, Expected: u.Old, Actual: now}
			}
		}
	}
	return rejected
}

func (c *Client) updateOnce(ctx context.Context, branch string, fn func(context.Context, *Repository) (CommitOptions, error), o UpdateOptions) (res *UpdateResult, err error) {
	dir, remove, err := c.tempDir()
	if err != nil {
		return nil, err
	}
	defer closed(&err, remove)
	repo, tip, err := c.startUpdate(ctx, branch, filepath.Join(dir, "work"), o)
	if err != nil {
		return nil, err
	}
	defer closed(&err, repo.Close)
	res = &UpdateResult{Base: repo.head}
	co, err := fn(ctx, repo)
	if err != nil {
		return res, err
	}
	commit, err := repo.commit(ctx, co)
	if errors.Is(err, ErrNothingToCommit) {
		res.Unchanged = true
		return res, nil
	}
	if err != nil {
		return res, err
	}
	if o.ForceFromBase {
		same, err := c.sameWork(ctx, tip, commit)
		if err != nil {
			return res, err
		}
		if same {
			res.Unchanged = true
			return res, nil
		}
	}
	res.Commit = commit
	push := o.Push
	push.Updates = append([]RefUpdate{{Src: branch}}, o.Push.Updates...)
	push.Lease = push.Lease || o.ForceFromBase
	res.Pushed, err = repo.push(ctx, push)
	return res, err
}

// startUpdate clones what the work starts from and puts it on the branch; tip
// is where the remote's branch is.
func (c *Client) startUpdate(ctx context.Context, branch, dir string, o UpdateOptions) (*Repository, Hash, error) {
	ref := Reference{Branch: branch}
	res, err := c.resolve(ctx, ref, ResolveOptions{})
	absent := errors.Is(err, ErrRefNotFound)
	switch {
	case errors.Is(err, ErrEmptyRepository):
		repo, err := c.clone(ctx, ref, dir, o.Clone)
		return repo, Hash{}, err
	case err != nil && !absent:
		return nil, Hash{}, err
	case !absent && !o.ForceFromBase:
		repo, err := c.clone(ctx, ref, dir, o.Clone)
		return repo, res.Commit, err
	}
	repo, err := c.clone(ctx, o.Base, dir, o.Clone)
	if err != nil {
		return nil, Hash{}, err
	}
	full := "refs/heads/" + branch
	repo.branch = branch
	repo.local[branch] = repo.head
	var tip Hash
	if delete(repo.remote, full); !absent {
		tip = res.Commit
		repo.remote[full] = tip
	}
	if err := errors.Join(repo.setRef(full, repo.head), repo.writeHead()); err != nil {
		return nil, tip, errors.Join(err, repo.Close())
	}
	return repo, tip, nil
}

// sameWork reports whether the branch already has this tree on this base.
func (c *Client) sameWork(ctx context.Context, tip Hash, commit *Commit) (bool, error) {
	if tip.IsZero() {
		return false, nil
	}
	h, err := c.history(ctx, []Hash{tip}, 1)
	if err != nil {
		return false, err
	}
	old, err := h.commit(tip)
	if err = errors.Join(err, h.close()); err != nil {
		return false, err
	}
	if old.Tree != commit.Tree || len(old.Parents) != len(commit.Parents) {
		return false, nil
	}
	for i := range old.Parents {
		if old.Parents[i] != commit.Parents[i] {
			return false, nil
		}
	}
	return true, nil
}
