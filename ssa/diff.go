// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// DiffOptions configure [Plan.Diff]. The zero value shows what would change.
type DiffOptions struct {
	// All shows unchanged and skipped objects, too.
	All bool
	// Context is the number of unchanged lines around a change. 0: 3;
	// negative: none.
	Context int
}

// Diff shows a plan, with masked values. Its JSON is stable.
type Diff struct {
	Objects []ObjectDiff `json:"objects"`
}

// ObjectDiff shows what a plan does to one object.
type ObjectDiff struct {
	ID       ID       `json:"id"`
	Decision Decision `json:"decision"`
	Why      Why      `json:"why,omitempty"`
	Changes  []Change `json:"changes,omitempty"`
	// Text is a unified diff of the live object and the result, as YAML.
	Text  string `json:"text,omitempty"`
	Error string `json:"error,omitempty"`
}

// String returns the texts of all objects.
func (d *Diff) String() string {
	var b strings.Builder
	for i := range d.Objects {
		o := &d.Objects[i]
		fmt.Fprintf(&b, "► %s %s\n", o.ID.Display(), o.Decision)
		b.WriteString(o.Text)
		if o.Error != "" {
			b.WriteString("  " + o.Error + "\n")
		}
	}
	return b.String()
}

// Diff renders the plan. It makes no request: objects that could not be
// rehearsed are shown as they are sent.
func (p *Plan) Diff(o DiffOptions) *Diff {
	d := &Diff{Objects: []ObjectDiff{}}
	for i := range p.Entries {
		e := &p.Entries[i]
		quiet := e.Decision == DecisionUnchanged || e.Decision == DecisionSkip
		if quiet && !o.All {
			continue
		}
		od := ObjectDiff{ID: e.ID, Decision: e.Decision, Why: e.Why, Changes: e.Changes}
		if e.Err != nil {
			od.Error = oneLine(e.Err.Error())
		}
		if !quiet && e.x != nil && e.x.desired != nil && e.Decision != DecisionBlocked {
			od.Text = p.unified(e, o)
		}
		d.Objects = append(d.Objects, od)
	}
	return d
}

// unified renders live against result.
func (p *Plan) unified(e *Entry, o DiffOptions) string {
	x := e.x
	var live, result map[string]any
	keys := x.live.keys(unlimited)
	if x.live != nil {
		live = displayed(strip(x.live.u.Object, x.desired.Object, x.ignore, keys))
	}
	var removed []pointer
	if x.takeover != nil {
		removed = x.takeover.removed(x.live)
	}
	switch {
	case x.result != nil:
		result = displayed(strip(x.result.Object, x.desired.Object, x.ignore, keys))
	default:
		result = displayed(strip(x.sent.Object, x.desired.Object, x.ignore, keys))
		if live != nil {
			all := live
			live = wantedOf(live, result)
			for _, at := range removed {
				graft(live, all, at)
			}
		}
	}
	for _, at := range removed { // the rehearsal does not know of the patch
		removeAt(result, x.live.u.Object, at, keys, nil)
	}
	for _, f := range [...]string{"labels", "annotations"} {
		if meta := nestedMap(result, "metadata"); len(removed) > 0 && empty(meta[f]) {
			delete(meta, f)
		}
	}
	before, after := p.mask.pair(e, live, result)
	context := o.Context
	switch {
	case context == 0:
		context = 3
	case context < 0:
		context = 0
	}
	return unifiedDiff(toLines(before), toLines(after), context)
}

// graft copies what is at the path from one object to another.
func graft(to, from map[string]any, at pointer) {
	for i, k := range at {
		v, ok := from[k]
		if !ok {
			return
		}
		if i == len(at)-1 {
			to[k] = v
			return
		}
		if _, ok = to[k]; !ok {
			to[k] = map[string]any{}
		}
		next, ok1 := to[k].(map[string]any)
		below, ok2 := v.(map[string]any)
		if !ok1 || !ok2 {
			return // a list is shown as a whole
		}
		to, from = next, below
	}
}

// displayed is an object without what the server keeps for itself.
func displayed(o map[string]any) map[string]any {
	out := cloneMap(o)
	delete(out, "status")
	if meta := nestedMap(out, "metadata"); meta != nil {
		for _, f := range serverFields {
			delete(meta, f)
		}
	}
	return out
}

// pair masks two versions of an object so that changed values differ.
func (k *masker) pair(e *Entry, live, result map[string]any) (before, after map[string]any) {
	objects := []*unstructured.Unstructured{e.x.desired}
	if live != nil {
		objects = append(objects, &unstructured.Unstructured{Object: live})
	}
	paths, whole := k.paths(e.ID, objects...)
	lookup := func(m map[string]any, segments []string) any {
		var v any = m
		for _, s := range segments {
			switch t := v.(type) {
			case map[string]any:
				v = t[s]
			case []any:
				i, err := strconv.Atoi(s)
				if err != nil || i >= len(t) {
					return nil
				}
				v = t[i]
			default:
				return nil
			}
		}
		return v
	}
	mask := func(text string) func([]string) string {
		return func(segments []string) string {
			if live != nil && result != nil && same(lookup(live, segments), lookup(result, segments)) {
				return "***"
			}
			return text
		}
	}
	if live != nil {
		h := hider{paths: paths, whole: whole, with: mask(maskBefore)}
		before, _ = h.value(live, nil).(map[string]any)
	}
	if result != nil {
		h := hider{paths: paths, whole: whole, with: mask(maskAfter)}
		after, _ = h.value(result, nil).(map[string]any)
	}
	return before, after
}

func toLines(o map[string]any) []string {
	if o == nil {
		return nil
	}
	b, err := yaml.Marshal(o)
	if err != nil {
		return []string{"# cannot be shown"}
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// maxDiffCells bounds the table of one diff; larger ones are shown as one
// replacement.
const maxDiffCells = 16_000_000

// unifiedDiff compares lines by their longest common subsequence.
func unifiedDiff(a, b []string, context int) string {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	ops := make([]diffLine, 0, len(a)+len(b))
	for i := range head {
		ops = append(ops, diffLine{' ', a[i]})
	}
	ops = append(ops, middle(a[head:len(a)-tail], b[head:len(b)-tail])...)
	for i := len(a) - tail; i < len(a); i++ {
		ops = append(ops, diffLine{' ', a[i]})
	}
	return hunks(ops, context)
}

type diffLine struct {
	op   byte
	text string
}

func middle(a, b []string) []diffLine {
	var out []diffLine
	if len(a)*len(b) > maxDiffCells {
		for _, l := range a {
			out = append(out, diffLine{'-', l})
		}
		for _, l := range b {
			out = append(out, diffLine{'+', l})
		}
		return out
	}
	w := len(b) + 1
	table := make([]int32, (len(a)+1)*w)
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] { //nolint:modernize // both positions count
				table[i*w+j] = table[(i+1)*w+j+1] + 1
			} else {
				table[i*w+j] = max(table[(i+1)*w+j], table[i*w+j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, diffLine{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && table[(i+1)*w+j] >= table[i*w+j+1]:
			out = append(out, diffLine{'-', a[i]})
			i++
		default:
			out = append(out, diffLine{'+', b[j]})
			j++
		}
	}
	return out
}

// hunks prints the changed lines with their context.
func hunks(ops []diffLine, context int) string {
	show := make([]bool, len(ops))
	for i, l := range ops {
		if l.op == ' ' {
			continue
		}
		for k := max(0, i-context); k <= min(len(ops)-1, i+context); k++ {
			show[k] = true
		}
	}
	var b strings.Builder
	la, lb := 1, 1
	for i := range ops {
		if show[i] && (i == 0 || !show[i-1]) {
			na, nb := 0, 0
			for k := i; k < len(ops) && show[k]; k++ {
				if ops[k].op != '+' {
					na++
				}
				if ops[k].op != '-' {
					nb++
				}
			}
			fmt.Fprintf(&b, "@@ -%d,%d +%d,%d @@\n", la, na, lb, nb)
		}
		if show[i] {
			b.WriteByte(ops[i].op)
			b.WriteString(ops[i].text)
			b.WriteByte('\n')
		}
		if ops[i].op != '+' {
			la++
		}
		if ops[i].op != '-' {
			lb++
		}
	}
	return b.String()
}
