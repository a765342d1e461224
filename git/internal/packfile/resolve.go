// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/objhash"
)

const (
	// stackBudget bounds the bases that wait on the resolvers' stacks.
	stackBudget = 6 << 20
	// costFactor is how many times its own size an object may cost to be built
	// again. What costs more is put aside when it was built for the first time.
	costFactor = 16
	// costFloor is the size that the smallest objects are taken to have.
	costFloor = 4 << 10
)

// links are the deltas of each entry, as lists.
type links struct {
	head []int32 // first child of each entry, -1 none
	next []int32 // next sibling
	// pending finds the deltas that wait for a base by its id. Slots hold the
	// first of them; links lead to the others.
	pending waiting
	waits   bool // whether any delta names its base by id
}

// waiting is a table of heads of lists: 0 empty, gone, or an index plus one.
type waiting struct {
	table
	p *Pack
}

const gone = ^uint32(0)

// find returns the slot that an id has, or should have.
func (w waiting) find(id []byte) int {
	for slot := w.slot(id); ; slot = w.next(slot) {
		if k := w.table[slot]; k == 0 || k != gone && bytes.Equal(w.p.id(int(k-1)), id) {
			return slot
		}
	}
}

// take returns the list of those that wait for an id, which is gone then.
func (w waiting) take(id []byte) int32 {
	slot := w.find(id)
	k := w.table[slot]
	if k == 0 {
		return -1
	}
	w.table[slot] = gone
	return int32(k - 1) //nolint:gosec // an index
}

// resolver turns deltas into objects, parents before children, without
// recursion and without holding more than one long chain link at a time.
// Several may work on one pack, each on trees of its own.
type resolver struct {
	*links
	p      *Pack
	r      *Reader
	hasher *objhash.Hasher
	keep   board
	stack  []frame
	held   int64
	budget int64 // for the stack
	pool   recycler
	out    *bufio.Writer
}

// frame is a base whose children are being resolved.
type frame struct {
	at    int32 // or external
	kids  int32 // the first child
	next  int32 // the child whose turn it is, -1 none
	depth int32
	typ   driver.Type
	inner bool // those without children have had their turn
	base  body
	own   []byte // where base is, when that is a buffer of the pool
	cost  int64  // of building base again
}

// resolvers is how many goroutines a pack is worth.
func (p *Pack) resolvers(l *links) int {
	if l.waits || p.deltas < 256 {
		return 1 // bases named by id may be anywhere, also among the deltas
	}
	return min(runtime.GOMAXPROCS(0), 4)
}

func (p *Pack) resolveDeltas(ctx context.Context) error {
	if p.deltas == 0 {
		return nil
	}
	var next atomic.Int64
	l := p.link()
	all := make([]*resolver, p.resolvers(l))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i := range all {
		v := &resolver{links: l, p: p, r: p.NewReader(), hasher: objhash.New(p.format), keep: board{s: p.shelf}, budget: stackBudget / int64(len(all))}
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
	if err := all[0].external(ctx); err != nil {
		return err
	}
	for i := range p.n {
		if p.Type(i) == 0 {
			return malformed(p.rec(i).off(), "delta base missing")
		}
	}
	for _, v := range all {
		p.resolved += v.r.built
	}
	return nil
}

// link builds the lists of children: of bases known by offset, and of those
// known by id that may be met yet.
func (p *Pack) link() *links {
	v := &links{head: make([]int32, p.n), next: make([]int32, p.n), waits: p.thin > 0}
	for i := range v.head {
		v.head[i] = -1
	}
	if v.waits {
		v.pending = waiting{newTable(p.thin), p}
	}
	for i := p.n - 1; i >= 0; i-- {
		switch b := p.rec(i).base; {
		case b >= 0:
			v.next[i] = v.head[b]
			v.head[b] = int32(i) //nolint:gosec // an index
		case b == external:
			slot := v.pending.find(p.id(i))
			v.next[i] = int32(v.pending.table[slot]) - 1 //nolint:gosec // an index plus one
			v.pending.table[slot] = uint32(i + 1)        //nolint:gosec // an index
		}
	}
	return v
}

// roots resolves the trees below whole objects, a run of objects at a time.
func (v *resolver) roots(ctx context.Context, next *atomic.Int64) error {
	const run = 128
	for {
		from := int(next.Add(run) - run)
		if from >= v.p.n {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for i := from; i < min(from+run, v.p.n); i++ {
			if v.p.rec(i).delta() {
				continue
			}
			if v.adopt(i); v.head[i] < 0 {
				continue
			}
			f, err := v.root(i)
			if err != nil {
				return err
			}
			if err := v.tree(ctx, f); err != nil {
				return err
			}
		}
	}
}

// root gets a whole object that is a base; a large one is put into the file.
func (v *resolver) root(i int) (f frame, err error) {
	p, size := v.p, v.p.ObjectSize(i)
	f = frame{at: int32(i), kids: v.head[i], typ: p.Type(i), cost: size} //nolint:gosec // an index
	if size > largeObject && p.loc(i) == 0 {
		loc, w, err := p.shelf.reserve(size)
		if err != nil {
			return f, err
		}
		if err := v.r.WriteTo(i, w); err != nil {
			return f, err
		}
		p.setLoc(i, loc)
	}
	if loc := p.loc(i); loc != 0 {
		f.base = p.shelf.get(loc, size)
		return f, nil
	}
	f.base, err = v.r.plain(i, v.pool.take(size))
	f.own = f.base.mem
	return f, err
}

// adopt makes the deltas that wait for this entry's id its children.
func (v *resolver) adopt(i int) {
	if !v.waits {
		return
	}
	for k := v.pending.take(v.p.id(i)); k >= 0; {
		v.p.rec(int(k)).base = int32(i) //nolint:gosec // an index
		v.p.thin--
		k, v.next[k], v.head[i] = v.next[k], v.head[i], k
	}
}

// turn returns the next child of a frame: first those without children, so
// that the base can be dropped before the last subtree.
func (v *resolver) turn(f *frame) int32 {
	kid := f.next
	f.next = v.after(f, v.next[kid])
	return kid
}

func (v *resolver) after(f *frame, k int32) int32 {
	for {
		for ; k >= 0; k = v.next[k] {
			if inner := v.head[k] >= 0; inner == f.inner && (!inner || v.p.Type(int(k)) == 0) {
				return k
			}
		}
		if f.inner {
			return -1
		}
		f.inner, k = true, f.kids
	}
}

// tree resolves everything below one base.
func (v *resolver) tree(ctx context.Context, root frame) error {
	v.held = 0
	v.push(root)
	for n := 0; len(v.stack) > 0; n++ {
		if n&255 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		top := &v.stack[len(v.stack)-1]
		if top.next < 0 {
			v.drop(top)
			v.stack = v.stack[:len(v.stack)-1]
			continue
		}
		kid := v.turn(top)
		f, err := v.child(int(kid), top)
		if err != nil {
			return err
		}
		if v.adopt(int(kid)); v.head[kid] < 0 {
			v.pool.give(f.own)
			continue
		}
		if top.next < 0 {
			v.drop(top)
		}
		f.kids = v.head[kid]
		v.push(f)
		if err := v.shrink(); err != nil {
			return err
		}
	}
	return nil
}

func (v *resolver) push(f frame) {
	f.next = v.after(&f, f.kids)
	v.held += int64(len(f.own))
	v.stack = append(v.stack, f)
}

func (v *resolver) drop(f *frame) {
	v.held -= int64(len(f.own))
	v.pool.give(f.own)
	f.own, f.base = nil, body{}
}

// child computes one object from its parent.
func (v *resolver) child(kid int, parent *frame) (f frame, err error) {
	p, size := v.p, v.p.ObjectSize(kid)
	f = frame{at: int32(kid), depth: parent.depth + 1, typ: parent.typ} //nolint:gosec // an index
	if err := limits.Check("git-delta-depth", p.lim.DeltaDepth, int64(f.depth)); err != nil {
		return f, err
	}
	v.hasher.Start(f.typ, size)
	before, loc := v.r.built, uint32(0)
	if size > largeObject {
		if loc, err = v.large(kid, &parent.base); err != nil {
			return f, err
		}
		f.base, f.cost = p.shelf.get(loc, size), size
	} else {
		f.own = v.pool.take(size)
		data, err := v.r.step(kid, &parent.base, f.own)
		if err != nil {
			return f, err
		}
		_, _ = v.hasher.Write(data)
		f.base, f.own = body{size: size, mem: data}, data
		f.cost = parent.cost + v.r.built - before
	}
	id, err := v.hasher.Sum()
	if err != nil {
		return f, err
	}
	p.setID(kid, id)
	p.setType(kid, f.typ)
	if loc == 0 {
		if loc, err = v.store(&f); err != nil {
			return f, err
		}
	}
	p.setLoc(kid, loc)
	return f, nil
}

// large computes an object into the file.
func (v *resolver) large(kid int, base *body) (loc uint32, err error) {
	size, off := v.p.ObjectSize(kid), v.p.rec(kid).off()
	n, err := v.r.instructions(kid)
	if err != nil {
		return 0, err
	}
	loc, w, err := v.p.shelf.reserve(size)
	if err != nil {
		return 0, err
	}
	if v.out == nil {
		v.out = bufio.NewWriterSize(nil, 64<<10)
	}
	v.r.built += n + size
	v.out.Reset(io.MultiWriter(v.hasher, w))
	if err := v.r.stream(v.out, base, n, off); err != nil {
		return 0, err
	}
	return loc, v.out.Flush()
}

// store puts an object aside that stays in memory, or that would cost too much
// to be built again.
func (v *resolver) store(f *frame) (loc uint32, err error) {
	if room, loc := v.keep.room(f.typ, f.base.size); room != nil {
		f.cost = f.base.size
		_ = append(room, f.base.mem...)
		return loc, nil
	}
	if f.cost <= costFactor*max(f.base.size, costFloor) {
		return 0, nil
	}
	f.cost = f.base.size
	return v.p.shelf.spool(f.base.mem)
}

// shrink puts the lowest bases into the file when too much is held.
func (v *resolver) shrink() error {
	for i := 0; v.held > v.budget && i < len(v.stack)-1; i++ {
		f := &v.stack[i]
		if f.own == nil {
			continue
		}
		var loc uint32
		if f.at >= 0 {
			loc = v.p.loc(int(f.at))
		}
		if loc == 0 {
			var err error
			if loc, err = v.p.shelf.spool(f.base.mem); err != nil {
				return err
			}
			if f.at >= 0 {
				v.p.setLoc(int(f.at), loc)
			}
		}
		size := f.base.size
		v.drop(f)
		f.base = v.p.shelf.get(loc, size)
	}
	return nil
}

// external resolves what hangs on bases outside the pack.
func (v *resolver) external(ctx context.Context) error {
	p := v.p
	for i := range p.n {
		if p.rec(i).base != external || p.Type(i) != 0 {
			continue
		}
		id, off := p.ID(i), p.rec(i).off()
		if p.base == nil {
			return malformed(off, "delta base %s missing", id)
		}
		typ, data, err := p.base(id)
		if errors.Is(err, driver.ErrObjectNotFound) {
			return malformed(off, "delta base %s missing", id)
		}
		if err != nil {
			return fmt.Errorf("offset %d: delta base %s: %w", off, id, err)
		}
		f := frame{at: external, kids: v.pending.take(p.id(i)), typ: typ, base: body{size: int64(len(data)), mem: data}, cost: int64(len(data))}
		if len(data) > largeObject {
			loc, err := p.shelf.spool(data)
			if err != nil {
				return err
			}
			f.base = p.shelf.get(loc, f.base.size)
		}
		if err := v.tree(ctx, f); err != nil {
			return err
		}
	}
	return nil
}
