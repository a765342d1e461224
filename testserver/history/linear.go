// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxOperations bounds a partition that [Linearizable] judges.
const MaxOperations = 5000

// ErrTooManyOperations reports a partition over [MaxOperations].
var ErrTooManyOperations = errors.New("too many operations in a partition")

// Operation is one call with what went in and came out.
type Operation[In, Out any] struct {
	// Client names who called; for the report.
	Client string
	// Start and End enclose the call. An operation whose outcome is unknown, such
	// as a lost reply, has an End of 0: it may take effect at any later time or never.
	Start, End time.Duration
	Input      In
	Output     Out
}

// Model is a sequential implementation. State must be comparable by the string
// that Key returns.
type Model[State, In, Out any] struct {
	// Init is the state at the beginning.
	Init State
	// Step says whether an output is right for an input in a state, and the next state.
	// For an operation of unknown outcome it is called with known false, and any
	// output is right.
	Step func(s State, in In, out Out, known bool) (bool, State)
	// Key identifies a state.
	Key func(State) string
	// Partition splits independent operations; nil: all belong together.
	Partition func(In) string
}

// Linearizable reports whether the operations could have happened one after
// the other, each between its start and end, with the outputs they had. If not,
// the string names the partition and the longest explanation found.
func Linearizable[State, In, Out any](m Model[State, In, Out], ops []Operation[In, Out]) (bool, string, error) {
	parts := map[string][]Operation[In, Out]{}
	var names []string
	for _, o := range ops {
		p := ""
		if m.Partition != nil {
			p = m.Partition(o.Input)
		}
		if parts[p] == nil {
			names = append(names, p)
		}
		parts[p] = append(parts[p], o)
	}
	slices.Sort(names)
	for _, p := range names {
		if len(parts[p]) > MaxOperations {
			return false, "", fmt.Errorf("partition %q has %d operations: %w", p, len(parts[p]), ErrTooManyOperations)
		}
		if longest, ok := linearize(m, parts[p]); !ok {
			return false, report(p, parts[p], longest), nil
		}
	}
	return true, "", nil
}

func report[In, Out any](p string, ops []Operation[In, Out], longest []int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "partition %q: %d of %d operations can be ordered; last ones:\n", p, len(longest), len(ops))
	for _, i := range longest[max(0, len(longest)-5):] {
		o := ops[i]
		fmt.Fprintf(&b, "  %s [%s, %s] %v -> %v\n", o.Client, o.Start, o.End, o.Input, o.Output)
	}
	return b.String()
}

// event is the call or the return of an operation in the time-ordered list.
type event struct {
	op         int
	call       bool
	at         time.Duration
	prev, next *event
	match      *event // the return of a call
}

// linearize searches for an order, depth first: it takes a call that is open,
// tries it in the current state, and remembers which (set, state) pairs failed.
func linearize[State, In, Out any](m Model[State, In, Out], ops []Operation[In, Out]) ([]int, bool) {
	head := events(ops)
	state := m.Init
	done := make(bitset, (len(ops)+63)/64)
	failed := map[string]bool{}
	type frame struct {
		e     *event
		state State
	}
	var stack []frame
	var longest []int
	required := 0
	for _, o := range ops {
		if o.End != 0 {
			required++
		}
	}
	taken := 0
	e := head.next
	for {
		if taken == required {
			return nil, true
		}
		if e == nil || !e.call {
			// A return before its call was taken, or nothing left: go back.
			if len(stack) == 0 {
				return longest, false
			}
			f := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			state = f.state
			done.clear(f.e.op)
			if f.e.match != nil {
				taken--
			}
			f.e.restore()
			e = f.e.next
			continue
		}
		o := ops[e.op]
		ok, next := m.Step(state, o.Input, o.Output, o.End != 0)
		if ok {
			done.set(e.op)
			k := done.key() + m.Key(next)
			if !failed[k] {
				failed[k] = true
				stack = append(stack, frame{e, state})
				state = next
				if e.match != nil {
					taken++
				}
				e.remove()
				if len(stack) > len(longest) {
					longest = longest[:0]
					for _, f := range stack {
						longest = append(longest, f.e.op)
					}
				}
				e = head.next
				continue
			}
			done.clear(e.op)
		}
		e = e.next
	}
}

// events makes the list of calls and returns; operations of unknown outcome
// have no return.
func events[In, Out any](ops []Operation[In, Out]) *event {
	var all []*event
	for i, o := range ops {
		c := &event{op: i, call: true, at: o.Start}
		all = append(all, c)
		if o.End != 0 {
			c.match = &event{op: i, at: o.End}
			all = append(all, c.match)
		}
	}
	slices.SortStableFunc(all, func(a, b *event) int {
		if a.at != b.at {
			return int(min(1, max(-1, a.at-b.at)))
		}
		switch { // calls first: touching operations overlap
		case a.call == b.call:
			return 0
		case a.call:
			return -1
		}
		return 1
	})
	head := &event{}
	at := head
	for _, e := range all {
		at.next, e.prev = e, at
		at = e
	}
	return head
}

// remove takes a call and its return out of the list.
func (e *event) remove() {
	e.unlink()
	if e.match != nil {
		e.match.unlink()
	}
}

// restore undoes remove.
func (e *event) restore() {
	if e.match != nil {
		e.match.relink()
	}
	e.relink()
}

func (e *event) unlink() {
	e.prev.next = e.next
	if e.next != nil {
		e.next.prev = e.prev
	}
}

func (e *event) relink() {
	e.prev.next = e
	if e.next != nil {
		e.next.prev = e
	}
}

type bitset []uint64

func (b bitset) set(i int)   { b[i/64] |= 1 << (i % 64) }
func (b bitset) clear(i int) { b[i/64] &^= 1 << (i % 64) }

func (b bitset) key() string {
	out := make([]byte, 0, 8*len(b))
	for _, w := range b {
		for i := range 8 {
			out = append(out, byte(w>>(8*i)))
		}
	}
	return string(out)
}

// RegisterInput is an operation on a register: a read, or a write of Value, or,
// with Swap, a write that succeeds only if the value is Expect.
type RegisterInput struct {
	Key    string
	Write  bool
	Swap   bool
	Expect string
	Value  string
}

// RegisterOutput is what came back: the value read, or whether a swap succeeded.
type RegisterOutput struct {
	Value string
	OK    bool
}

// Register is a model of independent registers with compare-and-swap; all begin
// empty.
func Register() Model[string, RegisterInput, RegisterOutput] {
	return Model[string, RegisterInput, RegisterOutput]{
		Step: func(s string, in RegisterInput, out RegisterOutput, known bool) (bool, string) {
			switch {
			case in.Swap:
				swapped := s == in.Expect
				if swapped {
					s = in.Value
				}
				return !known || swapped == out.OK, s
			case in.Write:
				return true, in.Value
			}
			return !known || s == out.Value, s
		},
		Key:       func(s string) string { return s },
		Partition: func(in RegisterInput) string { return in.Key },
	}
}
