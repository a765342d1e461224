// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// selection is what a client asks for in a fetch.
type selection struct {
	wants, haves []Hash
	shallow      map[Hash]bool // commits whose parents the client does not have
	depth        int
	relative     bool
	since        int64
	not          []Hash
	filter       filter
	includeTag   bool
}

func (s *selection) deepens() bool { return s.depth > 0 || s.since > 0 || len(s.not) > 0 }

// boundary is the answer to a deepen request.
type boundary struct {
	shallow   map[Hash]bool // commits whose parents are not sent
	order     []Hash        // the same, in order of discovery
	unshallow []Hash
}

// bound computes the shallow boundary of a selection.
func (r *Repo) bound(st *store, s *selection) (boundary, error) {
	b := boundary{shallow: map[Hash]bool{}}
	if !s.deepens() {
		for id := range s.shallow {
			b.shallow[id] = true
		}
		return b, nil
	}
	w := &deepWalk{st: st, s: s, b: &b, depth: s.depth, excluded: map[Hash]bool{}, best: map[Hash]int{}}
	if err := walkCommits(st, s.not, nil, w.excluded); err != nil {
		return b, err
	}
	if s.relative && len(s.shallow) > 0 {
		w.depth++ // counted from the present boundary, which is not new
		for id := range s.shallow {
			w.queue = append(w.queue, deepItem{id, 1})
		}
	} else {
		for _, id := range s.wants {
			w.queue = append(w.queue, deepItem{st.peel(id), 1})
		}
	}
	for len(w.queue) > 0 {
		if err := w.step(); err != nil {
			return b, err
		}
	}
	for id := range s.shallow {
		if _, walked := w.best[id]; walked && !b.shallow[id] {
			b.unshallow = append(b.unshallow, id)
		} else if !walked {
			b.shallow[id] = true
		}
	}
	return b, nil
}

// deepWalk goes through history breadth first and finds where it is cut.
type deepWalk struct {
	st       *store
	s        *selection
	b        *boundary
	depth    int
	excluded map[Hash]bool
	best     map[Hash]int // least depth of the commits seen
	queue    []deepItem
}

type deepItem struct {
	id    Hash
	depth int
}

func (w *deepWalk) step() error {
	it := w.queue[0]
	w.queue = w.queue[1:]
	if d, ok := w.best[it.id]; ok && d <= it.depth {
		return nil
	}
	if o := w.st.raw(it.id); o == nil || o.typ != CommitObject {
		return nil
	}
	c, err := w.st.commit(it.id)
	if err != nil {
		return err
	}
	w.best[it.id] = it.depth
	atDepth := w.s.depth > 0 && it.depth >= w.depth && len(c.parents) > 0
	cut := atDepth || slices.ContainsFunc(c.parents, w.unwanted)
	switch {
	case cut && !w.b.shallow[it.id]:
		w.b.shallow[it.id] = true
		w.b.order = append(w.b.order, it.id)
	case !cut:
		delete(w.b.shallow, it.id)
	}
	if atDepth {
		return nil
	}
	for _, p := range c.parents {
		if !w.unwanted(p) {
			w.queue = append(w.queue, deepItem{p, it.depth + 1})
		}
	}
	return nil
}

// unwanted reports whether a commit is excluded by deepen-not or deepen-since.
func (w *deepWalk) unwanted(id Hash) bool {
	if w.excluded[id] {
		return true
	}
	c, err := w.st.commit(id)
	return err == nil && w.s.since > 0 && c.when < w.s.since
}

// walkCommits adds the commits reachable from tips to seen, not going past stop.
func walkCommits(st *store, tips []Hash, stop func(Hash) bool, seen map[Hash]bool) error {
	stack := append([]Hash(nil), tips...)
	for len(stack) > 0 {
		id := st.peel(stack[len(stack)-1])
		stack = stack[:len(stack)-1]
		if seen[id] {
			continue
		}
		o := st.raw(id)
		if o == nil || o.typ != CommitObject {
			continue
		}
		seen[id] = true
		if stop != nil && stop(id) {
			continue
		}
		c, err := st.commit(id)
		if err != nil {
			return err
		}
		stack = append(stack, c.parents...)
	}
	return nil
}

// collect lists the objects to send: commits, then tags, trees and blobs in the
// order a walk finds them.
func (r *Repo) collect(st *store, s *selection, b boundary) ([]packed, error) {
	c := &collector{
		st: st, filter: s.filter, lenient: r.snapshot().opts.Lenient, shallow: b.shallow,
		has: map[Hash]bool{}, seen: map[Hash]bool{}, known: map[Hash]bool{},
	}
	if err := walkCommits(st, s.haves, func(id Hash) bool { return s.shallow[id] }, c.has); err != nil {
		return nil, err
	}
	wants := slices.Clone(s.wants)
	for _, id := range b.unshallow {
		l, err := st.commit(id)
		if err != nil {
			return nil, err
		}
		wants = append(wants, l.parents...)
	}
	if err := c.walk(wants); err != nil {
		return nil, err
	}
	for _, id := range append(c.edge, s.haves...) {
		if l, err := st.commit(st.peel(id)); err == nil {
			c.markKnown(l.tree)
		}
	}
	if s.includeTag {
		r.includeTags(c)
	}
	for _, id := range c.commits {
		l, err := st.commit(id)
		if err != nil {
			return nil, err
		}
		for _, t := range append([]Hash{l.tree}, l.more...) {
			if err := c.tree(t, "", 0); err != nil {
				return nil, err
			}
		}
	}
	for _, id := range c.explicit {
		if err := c.tree(id, "", -1); err != nil {
			return nil, err
		}
	}
	return c.out, nil
}

// walk adds the tags and commits reachable from ids, up to what the client has
// and to the shallow boundary, and notes the trees asked for by id.
func (c *collector) walk(ids []Hash) error {
	stack := slices.Clone(ids)
	slices.Reverse(stack)
	for len(stack) > 0 {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		o := c.st.raw(id)
		if o == nil && !c.lenient {
			return fmt.Errorf("object %q: %w", id, ErrNotFound)
		}
		if o == nil || c.seen[id] {
			continue
		}
		switch o.typ {
		case TagObject:
			c.add(id, "")
			t, err := c.st.tagTarget(id)
			if err != nil {
				return err
			}
			stack = append(stack, t)
		case CommitObject:
			if c.has[id] {
				c.edge = append(c.edge, id)
				continue
			}
			c.add(id, "")
			c.commits = append(c.commits, id)
			l, err := c.st.commit(id)
			if err != nil {
				return err
			}
			for i := len(l.parents) - 1; i >= 0 && !c.shallow[id]; i-- {
				stack = append(stack, l.parents[i])
			}
		case TreeObject:
			c.explicit = append(c.explicit, id)
		case BlobObject:
			c.add(id, "")
		}
	}
	return nil
}

// includeTags adds annotated tags whose target is being sent.
func (r *Repo) includeTags(c *collector) {
	for _, id := range r.snapshot().refs {
		o := c.st.raw(id)
		if o == nil || o.typ != TagObject || c.seen[id] {
			continue
		}
		if t := c.st.peel(id); c.seen[t] && !c.has[t] {
			c.add(id, "")
		}
	}
}

type packed struct {
	id   Hash
	path string
}

type collector struct {
	st       *store
	filter   filter
	lenient  bool
	shallow  map[Hash]bool
	has      map[Hash]bool // commits of the client
	commits  []Hash
	edge     []Hash // commits of the client that history leads to
	seen     map[Hash]bool
	known    map[Hash]bool
	explicit []Hash
	out      []packed
}

func (c *collector) add(id Hash, path string) {
	if !c.seen[id] {
		c.seen[id] = true
		c.out = append(c.out, packed{id, path})
	}
}

// markKnown notes the objects of a tree the client has.
func (c *collector) markKnown(id Hash) {
	if c.known[id] {
		return
	}
	c.known[id] = true
	entries, err := c.st.tree(id)
	if err != nil {
		return
	}
	for _, e := range entries {
		switch e.mode {
		case modeTree:
			c.markKnown(e.id)
		case modeGitlink:
		default:
			c.known[e.id] = true
		}
	}
}

// tree adds a tree and what is below it; a depth below zero is a tree that was
// asked for by its id, for which the tree filter does not count.
func (c *collector) tree(id Hash, path string, depth int) error {
	if c.seen[id] || c.known[id] || !c.filter.tree(depth) || (c.lenient && c.st.raw(id) == nil) {
		return nil
	}
	c.add(id, path)
	if c.filter.kind != "" && c.filter.kind != "tree" {
		c.out = c.out[:len(c.out)-1]
	}
	entries, err := c.st.tree(id)
	if err != nil && !c.lenient {
		return err
	}
	next := depth + 1
	if depth < 0 {
		next = depth
	}
	for _, e := range entries {
		p := path + "/" + e.name
		switch e.mode {
		case modeTree:
			if err := c.tree(e.id, p, next); err != nil {
				return err
			}
		case modeGitlink:
		default:
			o := c.st.raw(e.id)
			if o == nil {
				if c.lenient {
					continue
				}
				return fmt.Errorf("object %q: %w", e.id, ErrNotFound)
			}
			if !c.known[e.id] && c.filter.blob(o.size, next) {
				c.add(e.id, p)
			}
		}
	}
	return nil
}

// filter is a partial-clone filter. The zero value keeps everything.
type filter struct {
	text    string
	noBlobs bool
	limited bool
	limit   int64 // blobs of this size and more are left out
	trees   bool
	treeMax int // trees and blobs at this depth and deeper are left out
	kind    string
}

func (f filter) tree(depth int) bool { return depth < 0 || !f.trees || depth < f.treeMax }

func (f filter) blob(size int64, depth int) bool {
	if f.noBlobs || (f.limited && size >= f.limit) || (f.kind != "" && f.kind != "blob") {
		return false
	}
	return depth < 0 || !f.trees || depth < f.treeMax
}

// parseFilter reads blob:none, blob:limit=, tree:, object:type= and combine:.
func parseFilter(s string) (filter, error) {
	f := filter{text: s}
	parts := []string{s}
	if rest, ok := strings.CutPrefix(s, "combine:"); ok {
		parts = strings.Split(rest, "+")
	}
	for _, p := range parts {
		p = strings.NewReplacer("%3a", ":", "%3A", ":", "%3d", "=", "%3D", "=").Replace(p)
		switch {
		case p == "blob:none":
			f.noBlobs = true
		case strings.HasPrefix(p, "blob:limit="):
			n, err := parseSize(strings.TrimPrefix(p, "blob:limit="))
			if err != nil {
				return f, fmt.Errorf("filter %q: %w", s, err)
			}
			if !f.limited || n < f.limit {
				f.limited, f.limit = true, n
			}
		case strings.HasPrefix(p, "tree:"):
			n, err := strconv.Atoi(strings.TrimPrefix(p, "tree:"))
			if err != nil {
				return f, fmt.Errorf("filter %q: %w", s, err)
			}
			f.trees, f.treeMax = true, n
		case strings.HasPrefix(p, "object:type="):
			f.kind = strings.TrimPrefix(p, "object:type=")
		default:
			return f, fmt.Errorf("filter %q: %w", s, errPkt)
		}
	}
	return f, nil
}

func parseSize(s string) (int64, error) {
	shift := 0
	switch {
	case strings.HasSuffix(s, "k"):
		shift = 10
	case strings.HasSuffix(s, "m"):
		shift = 20
	case strings.HasSuffix(s, "g"):
		shift = 30
	}
	n, err := strconv.ParseInt(strings.TrimRight(s, "kmg"), 10, 64)
	return n << shift, err
}
