// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package reach lists the objects that one side has and the other lacks.
package reach

import (
	"context"
	"errors"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/object"
)

// Getter reads objects.
type Getter interface {
	Get(ctx context.Context, id driver.Hash) (driver.Type, []byte, error)
}

type walk struct {
	ctx  context.Context //nolint:containedctx // one call's state
	g    Getter
	seen map[driver.Hash]struct{}
	out  []driver.Hash
}

// Missing lists, in the order commits and tags, then trees and blobs, the
// objects reachable from want that are not reachable from have. It may list a
// few more. Haves and parents that the store lacks are ignored.
func Missing(ctx context.Context, g Getter, want, have []driver.Hash) ([]driver.Hash, error) {
	w := &walk{ctx: ctx, g: g, seen: map[driver.Hash]struct{}{}}
	old, roots, err := w.excluded(have)
	if err != nil {
		return nil, err
	}
	commits, err := w.commits(want, old)
	if err != nil {
		return nil, err
	}
	// Oldest first, so that a tree met in an older commit is not listed again.
	for i := len(commits) - 1; i >= 0; i-- {
		c := commits[i]
		bases := roots
		for _, p := range c.Parents {
			if t, err := w.treeOf(p); err == nil {
				bases = append(bases[:len(bases):len(bases)], t)
			} else if !errors.Is(err, driver.ErrObjectNotFound) {
				return nil, err
			}
		}
		if err := w.tree(c.Tree, bases); err != nil {
			return nil, err
		}
	}
	return w.out, nil
}

// excluded is the set of commits reachable from have, and the trees of have.
func (w *walk) excluded(have []driver.Hash) (map[driver.Hash]struct{}, []driver.Hash, error) {
	old := map[driver.Hash]struct{}{}
	var roots []driver.Hash
	todo := append([]driver.Hash(nil), have...)
	top := len(have)
	for n := 0; len(todo) > 0; n++ {
		id := todo[0]
		todo = todo[1:]
		if _, ok := old[id]; ok {
			continue
		}
		typ, raw, err := w.g.Get(w.ctx, id)
		if errors.Is(err, driver.ErrObjectNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		old[id] = struct{}{}
		switch typ {
		case driver.Commit:
			c, err := object.ParseCommit(id, raw)
			if err != nil {
				return nil, nil, err
			}
			if n < top {
				roots = append(roots, c.Tree)
			}
			todo = append(todo, c.Parents...)
		case driver.Tag:
			if t, err := object.ParseTag(id, raw); err == nil {
				todo = append(todo, t.Target)
			}
		}
	}
	return old, roots, nil
}

// commits lists commits, and puts them and the tags on the way into the result.
func (w *walk) commits(want []driver.Hash, old map[driver.Hash]struct{}) ([]*object.Commit, error) {
	var out []*object.Commit
	todo := append([]driver.Hash(nil), want...)
	top := len(want)
	for n := 0; len(todo) > 0; n++ {
		id := todo[0]
		todo = todo[1:]
		if _, ok := old[id]; ok || w.met(id) {
			continue
		}
		typ, raw, err := w.g.Get(w.ctx, id)
		if errors.Is(err, driver.ErrObjectNotFound) && n >= top {
			continue // the parent of a shallow commit
		}
		if err != nil {
			return nil, err
		}
		w.add(id)
		switch typ {
		case driver.Commit:
			c, err := object.ParseCommit(id, raw)
			if err != nil {
				return nil, err
			}
			out = append(out, c)
			todo = append(todo, c.Parents...)
		case driver.Tag:
			t, err := object.ParseTag(id, raw)
			if err != nil {
				return nil, err
			}
			todo = append(todo, t.Target)
			top = n + 1 + len(todo) // the target of a wanted tag is wanted
		case driver.Tree:
			delete(w.seen, id)
			w.out = w.out[:len(w.out)-1]
			if err := w.tree(id, nil); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func (w *walk) met(id driver.Hash) bool {
	_, ok := w.seen[id]
	return ok
}

func (w *walk) add(id driver.Hash) {
	w.seen[id] = struct{}{}
	w.out = append(w.out, id)
}

func (w *walk) treeOf(commit driver.Hash) (driver.Hash, error) {
	_, raw, err := w.g.Get(w.ctx, commit)
	if err != nil {
		return driver.Hash{}, err
	}
	c, err := object.ParseCommit(commit, raw)
	if err != nil {
		return driver.Hash{}, err
	}
	return c.Tree, nil
}

type pair struct {
	id    driver.Hash
	bases []driver.Hash
}

// tree lists what a tree holds and none of the bases holds at the same path.
func (w *walk) tree(root driver.Hash, bases []driver.Hash) error {
	stack := []pair{{root, bases}}
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if w.met(p.id) || contains(p.bases, p.id) {
			continue
		}
		raw, err := w.treeBytes(p.id)
		if err != nil {
			return err
		}
		w.add(p.id)
		old, err := w.names(p.bases)
		if err != nil {
			return err
		}
		it := object.NewIter(p.id.Format(), raw)
		var e object.Entry
		for it.Next(&e) {
			if e.Mode == object.ModeGitlink || w.met(e.Hash) || contains(old[string(e.Name)], e.Hash) {
				continue
			}
			if e.IsTree() {
				stack = append(stack, pair{e.Hash, old[string(e.Name)]})
			} else {
				w.add(e.Hash)
			}
		}
		if err := it.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) treeBytes(id driver.Hash) ([]byte, error) {
	_, raw, err := w.g.Get(w.ctx, id)
	return raw, err
}

func (w *walk) names(bases []driver.Hash) (map[string][]driver.Hash, error) {
	out := map[string][]driver.Hash{}
	for _, b := range bases {
		typ, raw, err := w.g.Get(w.ctx, b)
		if errors.Is(err, driver.ErrObjectNotFound) || err == nil && typ != driver.Tree {
			continue
		}
		if err != nil {
			return nil, err
		}
		it := object.NewIter(b.Format(), raw)
		var e object.Entry
		for it.Next(&e) {
			out[string(e.Name)] = append(out[string(e.Name)], e.Hash)
		}
	}
	return out, nil
}

func contains(list []driver.Hash, id driver.Hash) bool {
	for _, h := range list {
		if h == id {
			return true
		}
	}
	return false
}

// Adder takes objects, such as a pack writer.
type Adder func(t driver.Type, body []byte) error

// Send hands every listed object to add. The empty tree may be absent.
func Send(ctx context.Context, g Getter, ids []driver.Hash, add Adder) error {
	for _, id := range ids {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t, b, err := g.Get(ctx, id)
		if err != nil {
			return err
		}
		if err := add(t, b); err != nil {
			return err
		}
	}
	return nil
}
