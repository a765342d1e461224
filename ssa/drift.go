// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"container/list"
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

// DriftOptions bound a [DriftReport]. 0 means the default.
type DriftOptions struct {
	Objects int // listed objects: 100
	Changes int // changes per object: 20
	Value   int // bytes per value: 256
	Bytes   int // of the report as JSON: 32 KiB
}

// Drift is a bounded report of what differs from the desired state.
type Drift struct {
	Counts  map[Decision]int `json:"counts"`
	Objects []DriftObject    `json:"objects,omitempty"`
	Cut     bool             `json:"cut,omitempty"` // something was left out
}

// DriftObject is one object that differs.
type DriftObject struct {
	ID       ID       `json:"id"`
	Decision Decision `json:"decision"`
	Changes  []Change `json:"changes,omitempty"`
	Cut      bool     `json:"cut,omitempty"`
}

// DriftReport summarises a plan that is not meant to be applied. Values of
// Secrets are masked; whatever does not fit is left out and marked.
func DriftReport(p *Plan, o DriftOptions) *Drift {
	for _, f := range []struct {
		v   *int
		def int
	}{{&o.Objects, 100}, {&o.Changes, 20}, {&o.Value, 256}, {&o.Bytes, 32 << 10}} {
		if *f.v <= 0 {
			*f.v = f.def
		}
	}
	d := &Drift{Counts: map[Decision]int{}}
	size := 512 // counts, braces
	for i := range p.Entries {
		e := &p.Entries[i]
		d.Counts[e.Decision]++
		switch e.Decision {
		case DecisionUnchanged, DecisionSkip:
			continue
		case DecisionCreate, DecisionUpdate, DecisionRecreate, DecisionDeferred, DecisionBlocked, DecisionDelete:
		}
		if d.Cut || len(d.Objects) == o.Objects {
			d.Cut = true
			continue
		}
		obj := DriftObject{ID: e.ID, Decision: e.Decision}
		for _, c := range e.Changes {
			if len(obj.Changes) == o.Changes {
				obj.Cut = true
				break
			}
			c.Before, c.After = short(c.Before, o.Value), short(c.After, o.Value)
			obj.Changes = append(obj.Changes, c)
		}
		b, err := json.Marshal(obj)
		if err != nil || size+len(b)+1 > o.Bytes {
			d.Cut = true
			continue
		}
		size += len(b) + 1
		d.Objects = append(d.Objects, obj)
	}
	return d
}

// short cuts a value to max bytes of its JSON.
func short(v any, max int) any {
	b, err := json.Marshal(v)
	if err != nil || v == nil {
		return nil
	}
	if len(b) <= max {
		return v
	}
	s, ok := v.(string)
	if !ok {
		s = string(b)
	}
	return cutText(s, max-2)
}

// LoopDetector finds objects whose same fields are corrected again and again,
// because somebody else keeps changing them. Feed it with the result of every
// run. It remembers at most 10,000 objects, those of the latest results. Safe
// for concurrent use; the zero value is ready to use.
type LoopDetector struct {
	mu    sync.Mutex
	adds  uint64
	seen  map[ID]*list.Element
	order list.List // of *loop; front: corrected last
}

type loop struct {
	id    ID
	paths string
	runs  int
	add   uint64 // when it was corrected last
}

const (
	loopRuns    = 3
	loopObjects = 10_000
)

// Loop is an object that is corrected again and again.
type Loop struct {
	ID    ID
	Paths []string // the fields
	Runs  int      // in how many consecutive runs
	Other []string // the managers that wrote the fields last, by path; "" unknown
}

// Add takes the result of a run and returns the objects whose same fields
// were corrected in at least 3 consecutive runs.
func (d *LoopDetector) Add(r *Result) []Loop {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen == nil {
		d.seen = map[ID]*list.Element{}
	}
	d.adds++
	var out []Loop
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		at := d.seen[o.ID]
		if o.Action != ActionConfigured || len(o.Changes) == 0 {
			d.forget(at)
			continue
		}
		var paths []string
		for _, c := range o.Changes {
			paths = append(paths, c.Path)
		}
		slices.Sort(paths)
		key := strings.Join(paths, "\n")
		if at == nil {
			if at = d.watch(o.ID); at == nil {
				continue
			}
		}
		l, _ := at.Value.(*loop)
		if d.order.MoveToFront(at); l.paths != key {
			l.paths, l.runs = key, 0
		}
		l.add = d.adds
		if l.runs++; l.runs >= loopRuns {
			out = append(out, Loop{ID: o.ID, Paths: paths, Runs: l.runs, Other: o.lastWriters(paths)})
		}
	}
	return out
}

// watch begins to remember an object, in the place of the one that was not
// corrected for the longest time. It returns nil when all that are remembered
// are of this very result.
func (d *LoopDetector) watch(id ID) *list.Element {
	if len(d.seen) >= loopObjects {
		last := d.order.Back()
		if l, _ := last.Value.(*loop); l.add == d.adds {
			return nil
		}
		d.forget(last)
	}
	d.seen[id] = d.order.PushFront(&loop{id: id})
	return d.seen[id]
}

func (d *LoopDetector) forget(at *list.Element) {
	if at != nil {
		l, _ := d.order.Remove(at).(*loop)
		delete(d.seen, l.id)
	}
}

// lastWriters names, by path, who wrote the live value before this run.
func (o *Outcome) lastWriters(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = o.writers[p]
	}
	return out
}
