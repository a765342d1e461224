// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/objhash"
)

// stackBudget bounds the inflated bases that wait on the resolver's stack.
const stackBudget = 16 << 20

// links are the deltas of each entry, as lists.
type links struct {
	head    []int32 // first child of each entry, -1 none
	next    []int32 // next sibling
	pending map[driver.Hash][]int32
}

// resolver turns deltas into objects, parents before children, without
// recursion and without holding more than one long chain link at a time.
// Several may work on one pack, each on trees of its own.
type resolver struct {
	*links
	p      *Pack
	r      *Reader
	hasher *objhash.Hasher
	stack  []frame
	held   int64
	budget int64         // for the stack
	kept   *atomic.Int64 // of all resolvers
	again  *atomic.Int64 // bytes that all resolvers made anew
}

// againFactor is how many times the bytes that a pack may inflate to may be
// made anew, because a base had made room before its last delta came.
const againFactor = 8

type frame struct {
	at   int32
	data []byte
	todo []int32
}

// resolvers is how many goroutines a pack is worth.
func (p *Pack) resolvers(l *links) int {
	if l.pending != nil || p.deltas < 256 {
		return 1 // bases named by id may be anywhere, also among the deltas
	}
	return min(runtime.GOMAXPROCS(0), 4)
}

func (p *Pack) resolveDeltas(ctx context.Context) error {
	if p.deltas == 0 {
		return nil
	}
	var kept, next, again atomic.Int64
	for _, b := range p.kept {
		kept.Add(int64(len(b)))
	}
	l := p.link()
	all := make([]*resolver, p.resolvers(l))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i := range all {
		v := &resolver{links: l, p: p, r: p.NewReader(), hasher: objhash.New(p.format), budget: stackBudget / int64(len(all)), kept: &kept, again: &again}
		v.r.budget /= int64(len(all))
		all[i] = v
		wg.Go(func() {
			if err := v.roots(ctx, &next); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := all[0].external(ctx)
	for _, v := range all {
		maps.Copy(p.kept, v.r.own)
		v.r.own = nil
	}
	if err != nil {
		return err
	}
	for i := range p.entries {
		if p.entries[i].typ == 0 {
			return malformed(p.entries[i].off, "delta base missing")
		}
	}
	return nil
}

// roots resolves the trees below whole objects, a run of objects at a time.
func (v *resolver) roots(ctx context.Context, next *atomic.Int64) error {
	const run = 128
	for {
		from := next.Add(run) - run
		if from >= int64(len(v.p.entries)) {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for i := int(from); i < min(int(from)+run, len(v.p.entries)); i++ {
			if v.p.entries[i].kind >= kindOfs {
				continue
			}
			v.adopt(int32(i))
			if v.head[i] < 0 {
				continue
			}
			data, err := v.r.Get(i)
			if err != nil {
				return err
			}
			if err := v.tree(ctx, frame{at: int32(i), data: data, todo: v.children(int32(i))}); err != nil {
				return err
			}
		}
	}
}

// link builds the lists of children from the bases known by offset.
func (p *Pack) link() *links {
	v := &links{head: make([]int32, len(p.entries)), next: make([]int32, len(p.entries))}
	for i := range v.head {
		v.head[i] = -1
	}
	for i := len(p.entries) - 1; i >= 0; i-- {
		switch b := p.entries[i].base; {
		case b >= 0:
			v.next[i] = v.head[b]
			v.head[b] = int32(i)
		case b == external:
			if v.pending == nil {
				v.pending = map[driver.Hash][]int32{}
			}
			id := p.extern[uint32(i)]
			v.pending[id] = append(v.pending[id], int32(i))
		}
	}
	return v
}

// adopt makes the deltas that wait for this entry's id its children.
func (v *resolver) adopt(i int32) {
	if v.pending == nil {
		return
	}
	id := v.p.entries[i].id
	kids, ok := v.pending[id]
	if !ok {
		return
	}
	delete(v.pending, id)
	for _, k := range kids {
		v.p.entries[k].base = i
		delete(v.p.extern, uint32(k))
		v.next[k] = v.head[i]
		v.head[i] = k
	}
}

// children lists the children of an entry, those without children first, so
// that the entry's bytes can be dropped before the last subtree.
func (v *resolver) children(i int32) []int32 {
	var leaf, inner []int32
	for k := v.head[i]; k >= 0; k = v.next[k] {
		if v.head[k] < 0 {
			leaf = append(leaf, k)
		} else {
			inner = append(inner, k)
		}
	}
	out := slices.Concat(leaf, inner)
	slices.Reverse(out) // taken from the end
	return out
}

// tree resolves everything below one base.
func (v *resolver) tree(ctx context.Context, root frame) error {
	v.stack = append(v.stack[:0], root)
	v.held = int64(len(root.data))
	for n := 0; len(v.stack) > 0; n++ {
		if n&255 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		top := &v.stack[len(v.stack)-1]
		if len(top.todo) == 0 {
			v.held -= int64(len(top.data))
			v.stack = v.stack[:len(v.stack)-1]
			continue
		}
		kid := top.todo[len(top.todo)-1]
		top.todo = top.todo[:len(top.todo)-1]
		if top.data == nil {
			data, err := v.remake(ctx, int(top.at))
			if err != nil {
				return err
			}
			top.data = data
			v.held += int64(len(data))
		}
		data, err := v.child(kid, top)
		if err != nil {
			return err
		}
		if v.adopt(kid); v.head[kid] < 0 {
			continue
		}
		if len(top.todo) == 0 {
			v.held -= int64(len(top.data))
			top.data = nil
		}
		v.stack = append(v.stack, frame{at: kid, data: data, todo: v.children(kid)})
		v.held += int64(len(data))
		v.shrink()
	}
	return nil
}

// remake builds an object that made room. What that costs is bounded: a large
// base with many small trees below it would be inflated for each of them.
func (v *resolver) remake(ctx context.Context, i int) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	before := v.r.built
	data, err := v.r.Get(i)
	if err != nil {
		return nil, err
	}
	limit := v.p.lim.Inflated
	if limit > math.MaxInt64/againFactor {
		return filled(data), nil
	}
	return filled(data), limits.Check("git-inflated", againFactor*limit, v.again.Add(v.r.built-before))
}

// filled is data, never nil: a frame without data is one that made room.
func filled(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// child computes one object from its parent.
func (v *resolver) child(kid int32, parent *frame) ([]byte, error) {
	p := v.p
	e := &p.entries[kid]
	if parent.at >= 0 {
		e.typ, e.depth = p.entries[parent.at].typ, p.entries[parent.at].depth+1
	} else {
		e.depth = 1
	}
	if err := limits.Check("git-delta-depth", p.lim.DeltaDepth, int64(e.depth)); err != nil {
		return nil, err
	}
	delta, err := v.r.delta(e)
	if err != nil {
		return nil, err
	}
	data, err := apply(parent.data, delta, e.off)
	if err != nil {
		return nil, err
	}
	data = filled(data)
	v.hasher.Start(e.typ, e.size)
	_, _ = v.hasher.Write(data)
	if e.id, err = v.hasher.Sum(); err != nil {
		return nil, err
	}
	if v.keep(e) {
		v.r.own[uint32(kid)] = data
	}
	return data, nil
}

// keep decides whether an object stays in memory.
func (v *resolver) keep(e *entry) bool {
	most := int64(keepBudget)
	if e.typ == driver.Blob {
		most = keepBlobs
		if e.size > keepBlob {
			return false
		}
	}
	if v.kept.Add(e.size) > most {
		v.kept.Add(-e.size)
		return false
	}
	return true
}

// shrink drops the bytes of the lowest frames when too much is held.
func (v *resolver) shrink() {
	for i := 0; v.held > v.budget && i < len(v.stack)-1; i++ {
		if v.stack[i].at < 0 {
			continue // a base outside the pack could not be had again so cheaply
		}
		v.held -= int64(len(v.stack[i].data))
		v.stack[i].data = nil
	}
}

// external resolves what hangs on bases outside the pack.
func (v *resolver) external(ctx context.Context) error {
	p := v.p
	for i := range p.entries {
		if p.entries[i].base != external || p.entries[i].typ != 0 {
			continue
		}
		id := p.extern[uint32(i)]
		if p.base == nil {
			return malformed(p.entries[i].off, "delta base %s missing", id)
		}
		typ, data, err := p.base(id)
		if errors.Is(err, driver.ErrObjectNotFound) {
			return malformed(p.entries[i].off, "delta base %s missing", id)
		}
		if err != nil {
			return fmt.Errorf("offset %d: delta base %s: %w", p.entries[i].off, id, err)
		}
		kids := v.pending[id]
		delete(v.pending, id)
		for _, k := range kids {
			p.entries[k].typ = typ
		}
		if err := v.tree(ctx, frame{at: external, data: filled(data), todo: kids}); err != nil {
			return err
		}
	}
	return nil
}
