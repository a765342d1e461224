// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gitops-kit/sdk/ssa/internal/fieldset"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Explanation says, field by field, who owns an object and what an apply does.
type Explanation struct {
	ID       ID          `json:"id"`
	Decision Decision    `json:"decision"`
	Why      Why         `json:"why,omitempty"`
	Fields   []FieldFate `json:"fields"`
	Requests Requests    `json:"-"`
}

// FieldFate is what an apply does to one leaf field.
type FieldFate struct {
	Path     string       `json:"path"` // RFC 6901; indices of the live object, or of the desired one for new items
	Desired  any          `json:"desired,omitempty"`
	Live     any          `json:"live,omitempty"`
	Managers []FieldOwner `json:"managers,omitempty"`
	// Decision is one of the Fate constants.
	Decision string `json:"decision"`
	Why      string `json:"why"`
}

// FieldOwner is a manager that owns a field.
type FieldOwner struct {
	Name        string `json:"name"`
	Operation   string `json:"operation"`
	Subresource string `json:"subresource,omitempty"`
	Time        string `json:"time,omitempty"`
}

// What happens to a field.
const (
	FateSet      = "set"      // gets the desired value
	FateKeep     = "keep"     // stays as it is
	FateRemove   = "remove"   // goes away, or back to its default
	FateRelease  = "release"  // we stop owning it, others keep it
	FateAdopt    = "adopt"    // has the desired value already and becomes ours
	FateIgnored  = "ignored"  // an ignore rule covers it
	FateConflict = "conflict" // another manager owns it and is not overruled
)

// Explain plans one object and explains every leaf field of the desired
// object, the live one, and what managers own. It takes at most one GET and
// one dry-run, and changes nothing. The explanation is as complete as the plan
// when an error, as of [Manager.Plan], is returned.
func (m *Manager) Explain(ctx context.Context, o *unstructured.Unstructured, po PlanOptions) (*Explanation, error) {
	po.Verify = func(ID) bool { return true }
	single := *m
	single.o.Live = onlyGet{m.c}
	p, err := single.Plan(ctx, []*unstructured.Unstructured{o}, po)
	e := &p.Entries[0]
	out := &Explanation{ID: e.ID, Decision: e.Decision, Why: e.Why, Requests: p.Requests}
	if e.x == nil || e.x.desired == nil {
		return out, err
	}
	out.Requests.Get++
	x := &explainer{m: m, e: e, po: po, rules: e.x.ignore, max: m.o.Limits.fieldsV1()}
	live := e.x.asked
	if live != nil {
		x.keys = live.keys(x.max)
		x.managers = live.managers()
		taking := e.x.takeover != nil && !exempted(po, e.x)
		for i := range x.managers {
			s, _ := x.managers[i].fields(x.max)
			x.sets = append(x.sets, s)
			x.taken = append(x.taken, taking && takes(po.Takeover, &x.managers[i], m.o.Owner.FieldManager))
		}
		x.live = live.u.Object
	}
	roots := make([]int32, len(x.sets))
	x.walk(nil, nil, e.x.desired.Object, x.live, roots, true)
	x.mask(p.mask)
	slices.SortFunc(x.out, func(a, b FieldFate) int { return compareChanges(Change{Path: a.Path}, Change{Path: b.Path}) })
	out.Fields = x.out
	return out, err
}

// onlyGet reads single objects instead of lists.
type onlyGet struct{ c Cluster }

// Live implements [LiveReader].
func (g onlyGet) Live(ctx context.Context, r Resource, ns, name string) (*unstructured.Unstructured, error) {
	return g.c.Get(ctx, r, ns, name)
}

type explainer struct {
	m        *Manager
	e        *Entry
	po       PlanOptions
	rules    []pointer
	max      int64
	keys     keyFinder
	managers []manager
	sets     []fieldset.Set
	taken    []bool // becomes ours, by manager
	live     map[string]any
	out      []FieldFate
}

// walk descends into desired and live together. at is the path shown, names
// the path of field names, nodes the place in each manager's set (-1: none).
func (x *explainer) walk(at, names []string, desired, live any, nodes []int32, wanted bool) {
	dm, _ := desired.(map[string]any)
	lm, _ := live.(map[string]any)
	dl, _ := desired.([]any)
	ll, _ := live.([]any)
	switch {
	case len(dm) > 0 || len(lm) > 0:
		keys := slices.Collect(maps.Keys(dm))
		for k := range lm {
			if _, ok := dm[k]; !ok {
				keys = append(keys, k)
			}
		}
		for _, k := range keys {
			if x.hidden(at, k) {
				continue
			}
			dv, want := dm[k]
			next := x.descend(nodes, func(s *fieldset.Set, n int32) int32 { return s.Child(n, fieldset.Field, k) })
			x.walk(append(slices.Clip(at), k), append(slices.Clip(names), k), dv, lm[k], next, want)
		}
	case len(dl) > 0 || len(ll) > 0:
		x.items(at, names, dl, ll, nodes)
	default:
		x.leaf(at, desired, live, nodes, wanted)
	}
}

// hidden leaves out what is identity or the server's own.
func (x *explainer) hidden(at []string, k string) bool {
	switch len(at) {
	case 0:
		return k == "apiVersion" || k == "kind" || k == "status"
	case 1:
		return at[0] == "metadata" && (k == "name" || k == "namespace" || slices.Contains(serverFields[:], k))
	}
	return false
}

func (x *explainer) items(at, names []string, dl, ll []any, nodes []int32) {
	keys := x.keys.at(names)
	used := make([]bool, len(ll))
	visit := func(index int, d, l any, want bool, j int) {
		next := x.descend(nodes, func(s *fieldset.Set, n int32) int32 { return itemNode(s, n, l, j) })
		for i := range next {
			if next[i] < 0 && nodes[i] > 0 && x.sets[i].At(nodes[i]).Member && !x.sets[i].HasChildren(nodes[i]) {
				next[i] = nodes[i] // an atomic list is owned as a whole
			}
		}
		x.walk(append(slices.Clip(at), strconv.Itoa(index)), names, d, l, next, want)
	}
	for i, d := range dl {
		j := sibling(ll, d, i, keys)
		if j >= 0 && !used[j] {
			used[j] = true
			visit(j, d, ll[j], true, j)
			continue
		}
		visit(i, d, nil, true, -1)
	}
	for j, l := range ll {
		if !used[j] {
			visit(j, nil, l, false, j)
		}
	}
}

func (x *explainer) descend(nodes []int32, child func(*fieldset.Set, int32) int32) []int32 {
	s := settler{sets: x.sets}
	return s.descend(nodes, child)
}

// leaf notes one field.
func (x *explainer) leaf(at []string, desired, live any, nodes []int32, wanted bool) {
	f := FieldFate{Path: "/" + joinPointer(at), Desired: clone(desired), Live: clone(live)}
	var o ownership
	for i, n := range nodes {
		if n <= 0 {
			continue
		}
		m := &x.managers[i]
		if !x.sets[i].At(n).Member && !x.sets[i].HasChildren(n) {
			continue
		}
		f.Managers = append(f.Managers, FieldOwner{Name: m.Manager, Operation: m.Operation, Subresource: m.Subresource, Time: m.Time})
		switch {
		case m.Manager == x.m.o.Owner.FieldManager && m.Operation == opApply && m.Subresource == "":
			o.ours = true
		case x.taken[i]:
			o.taken = true
		default:
			o.others = true
		}
	}
	f.Decision, f.Why = x.fate(at, desired, live, wanted, o)
	x.out = append(x.out, f)
}

// ownership says who has a field: we, managers whose fields become ours, and
// others.
type ownership struct{ ours, taken, others bool }

func (x *explainer) fate(at []string, desired, live any, wanted bool, o ownership) (decision, why string) {
	switch d := x.e.Decision; {
	case d == DecisionSkip && x.e.Why != WhyIgnored:
		return FateKeep, "the object is left alone"
	case x.live == nil:
		return FateSet, "the object does not exist yet"
	case slices.ContainsFunc(x.rules, func(p pointer) bool { return len(p) == 0 || covers(p, at) }):
		return FateIgnored, "an ignore rule covers the field"
	case d == DecisionRecreate && wanted:
		return FateSet, "the object is made anew"
	case d == DecisionRecreate:
		return FateRemove, "the object is made anew"
	case wanted:
		return x.wanted(at, desired, live, o)
	case x.stripped(at):
		return FateRemove, "the take-over removes it"
	case !o.ours && !o.taken:
		return FateKeep, "not desired, and not ours"
	case o.others:
		return FateRelease, "not desired any more; another manager owns it, too"
	case !o.ours:
		return FateRemove, "not desired, and owned only by who is taken over"
	}
	return FateRemove, "not desired any more, and nobody else owns it"
}

func (x *explainer) wanted(at []string, desired, live any, o ownership) (decision, why string) {
	switch {
	case live == nil:
		return FateSet, "the field does not exist yet"
	case same(desired, live) || x.unchanged(at):
		if o.ours {
			return FateKeep, "the live value is the desired one"
		}
		return FateAdopt, "the live value is the desired one; the field becomes ours"
	case o.others && x.po.FailOnConflict:
		return FateConflict, "another manager owns the field"
	}
	return FateSet, "the live value differs"
}

// stripped reports whether it is a label or annotation that a take-over
// removes by name.
func (x *explainer) stripped(at []string) bool {
	t := x.e.x.takeover
	if t == nil || len(at) != 3 || at[0] != "metadata" {
		return false
	}
	return at[1] == "annotations" && slices.Contains(t.annotations, at[2]) || at[1] == "labels" && slices.Contains(t.labels, at[2])
}

// unchanged reports whether the server's dry-run left the value as it is, in
// another spelling than the desired one.
func (x *explainer) unchanged(at []string) bool {
	if x.e.x.result == nil {
		return x.e.Decision == DecisionUnchanged
	}
	for _, c := range x.e.Changes {
		p, err := parsePointer(c.Path)
		if err == nil && (covers(p, at) || covers(at, p)) {
			return false
		}
	}
	return true
}

// covers reports whether p is at or above path.
func covers(p, path []string) bool {
	if len(p) > len(path) {
		return false
	}
	for i := range p {
		if p[i] != "*" && p[i] != path[i] {
			return false
		}
	}
	return true
}

func joinPointer(at []string) string {
	var out strings.Builder
	for i, s := range at {
		if i > 0 {
			out.WriteString("/")
		}
		out.WriteString(escapeSegment(s))
	}
	return out.String()
}

func (x *explainer) mask(k *masker) {
	paths, whole := k.paths(x.e.ID, x.e.x.desired, &unstructured.Unstructured{Object: x.live})
	for i := range x.out {
		c := Change{Path: x.out[i].Path, Before: x.out[i].Live, After: x.out[i].Desired}
		maskChange(&c, paths, whole)
		x.out[i].Live, x.out[i].Desired = c.Before, c.After
	}
}
