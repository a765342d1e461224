// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/ssa/inventory"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// DecisionDelete is the decision of a [DeletePlan] to delete an object.
const DecisionDelete Decision = "delete"

// Grounds of the decisions of a [DeletePlan].
const (
	WhyGone       Why = "Gone"       // it does not exist
	WhyKindGone   Why = "KindGone"   // its kind does not exist
	WhyNotOwned   Why = "NotOwned"   // its labels name another owner, or none
	WhyKept       Why = "Kept"       // DeleteOptions.Keep
	WhyReplaced   Why = "Replaced"   // another object has its name now
	WhySameObject Why = "SameObject" // it is also in the set under another group
	WhyProtected  Why = "Protected"  // never deleted
	WhyMoved      Why = "Moved"      // another set has claimed it
	WhyInUse      Why = "InUse"      // it holds objects of the set, or others that stay
	WhyUnparsed   Why = "Unparsed"   // the inventory entry is not an id
	WhyNotListed  Why = "NotListed"  // the set does not have it any more
)

// DeleteOptions say what may be deleted, and how. The zero value deletes what
// is ours, except protected namespaces.
type DeleteOptions struct {
	// Ledger records what is left. nil: the caller keeps the inventory.
	Ledger *inventory.Ledger
	// Exclude and Keep spare matching live objects; they stay in the inventory.
	Exclude, Keep Selector
	// Protect spares matching objects, besides the namespaces kube-system,
	// kube-public, kube-node-lease and default; they stay in the inventory.
	Protect []Match
	// Claimed, when set, returns which ids another set for the same cluster
	// has in its inventory. They are not deleted.
	Claimed func(context.Context, []ID) (map[ID]Owner, error)
	// Propagation of deletions. "": background.
	Propagation metav1.DeletionPropagation
	// Phased deletes custom resources before everything else and awaits
	// their end, so that their operators, and their definitions, outlive them.
	Phased bool
	// PhaseTimeout bounds the wait of one phase. 0: 5 min.
	PhaseTimeout time.Duration
	// ContinueAfterTimeout goes on with the next phase all the same.
	ContinueAfterTimeout bool
}

// PruneOptions add the guards of [Manager.PlanPrune].
type PruneOptions struct {
	DeleteOptions
	// Budget refuses too many deletions. The zero value is off.
	Budget Budget
	// Confirm matches live objects whose deletion wants an approval.
	Confirm Selector
	// Approved is the digest of a refused plan: it lifts Budget and Confirm
	// for exactly that set of objects.
	Approved string
	// AllowEmpty allows an empty set to delete everything.
	AllowEmpty bool
}

// DeleteEntry is the plan for one object.
type DeleteEntry struct {
	ID       ID       `json:"id"`
	Version  string   `json:"version,omitempty"`
	Decision Decision `json:"decision"` // delete, skip, unchanged (nothing to do) or blocked
	Why      Why      `json:"why,omitempty"`
	Err      error    `json:"-"`

	r       Resource
	uid, rv string
	stays   bool // belongs into the next inventory
	live    *unstructured.Unstructured
	depends []ID
}

// DeletePlan is what a deletion will do, in order.
type DeletePlan struct {
	Entries  []DeleteEntry `json:"entries"`
	Requests Requests      `json:"-"`
	// Digest is PruneOptions.Approved for exactly these deletions.
	Digest string `json:"digest"`

	owner   Owner
	cluster string
	refused error // a *PruneBlockedError: Delete will not execute the plan
	spare   DeleteOptions
	confirm Selector // what wants an approval that the plan does not have
}

// Deletions returns the objects that will be deleted.
func (p *DeletePlan) Deletions() []ID {
	var out []ID
	for i := range p.Entries {
		if p.Entries[i].Decision == DecisionDelete {
			out = append(out, p.Entries[i].ID)
		}
	}
	return out
}

const defaultPhase = 5 * time.Minute

// deletePlanner is one call of PlanDelete or PlanPrune.
type deletePlanner struct {
	m       *Manager
	o       DeleteOptions
	p       *DeletePlan
	protect []compiledMatch
	keptUID map[string]bool
	kept    inventory.Set
	count   counter
	mu      sync.Mutex
}

// PlanDelete decides which objects of an inventory are deleted. Objects that
// cannot be judged are blocked and named in the [*DeleteError]; the plan is
// complete all the same.
func (m *Manager) PlanDelete(ctx context.Context, s inventory.Set, o DeleteOptions) (*DeletePlan, error) {
	d := &deletePlanner{m: m, o: o}
	return d.plan(ctx, s)
}

// PlanPrune decides which objects of the old inventory are deleted because
// the set does not have them any more. A [*PruneBlockedError] refuses all of
// it; the plan then shows what it would have been.
func (m *Manager) PlanPrune(ctx context.Context, old inventory.Set, kept Kept, o PruneOptions) (*DeletePlan, error) {
	have := kept.Inventory()
	gone := old.Minus(have)
	d := &deletePlanner{m: m, o: o.DeleteOptions, kept: have, keptUID: map[string]bool{}}
	for it := range have.Items() {
		if it.UID != "" {
			d.keptUID[it.UID] = true
		}
	}
	p, err := d.plan(ctx, gone)
	ids := p.Deletions()
	blocked := func(why string, ids []ID, err error) (*DeletePlan, error) {
		p.refused = &PruneBlockedError{Why: why, IDs: ids, Digest: p.Digest, Err: err}
		return p, p.refused
	}
	if !kept.Complete() {
		return blocked(PruneIncomplete, ids, nil)
	}
	if err != nil {
		// Nobody should execute what is not wholly judged; who does is held to
		// the guards all the same.
		_, _ = p.guard(have, old, o, blocked)
		return p, err
	}
	return p.guard(have, old, o, blocked)
}

// guard refuses the plan by blocked where an option of the prune asks for that.
func (p *DeletePlan) guard(have, old inventory.Set, o PruneOptions, blocked func(string, []ID, error) (*DeletePlan, error)) (*DeletePlan, error) {
	ids := p.Deletions()
	switch {
	case have.Len() == 0 && old.Len() > 0 && !o.AllowEmpty:
		return blocked(PruneEmpty, ids, nil)
	case o.Approved != "" && o.Approved == p.Digest:
		return p, nil
	}
	p.confirm = o.Confirm
	var marked []ID
	for i := range p.Entries {
		if e := &p.Entries[i]; e.Decision == DecisionDelete && o.Confirm.Matches(e.live) {
			marked = append(marked, e.ID)
		}
	}
	switch {
	case len(marked) > 0:
		return blocked(PruneConfirm, marked, nil)
	case o.Budget.Exceeded(len(ids), old.Len()):
		return blocked(PruneBudget, ids, nil)
	}
	return p, nil
}

func (d *deletePlanner) plan(ctx context.Context, s inventory.Set) (*DeletePlan, error) {
	d.p = &DeletePlan{owner: d.m.o.Owner, cluster: d.m.clusterID(), Entries: make([]DeleteEntry, 0, s.Len()), spare: d.o}
	for it := range s.Items() {
		e := DeleteEntry{ID: it.ID, Version: it.Version, uid: it.UID, stays: true}
		if !it.ID.Parsed() {
			e.Decision, e.Why = DecisionSkip, WhyUnparsed
		}
		d.p.Entries = append(d.p.Entries, e)
	}
	defer func() {
		d.sort()
		d.p.Requests = d.count.requests()
		d.p.Digest = d.p.digest()
	}()
	if err := d.compile(); err != nil {
		err = fmt.Errorf("plan deletion: %w", err)
		d.blockAll(err)
		return d.p, err
	}
	d.read(ctx)
	if err := d.claims(ctx); err != nil {
		d.blockAll(err)
		return d.p, &DeleteError{aggregate{[]error{err}}}
	}
	d.spare()
	var errs []error
	for i := range d.p.Entries {
		if d.p.Entries[i].Err != nil {
			errs = append(errs, d.p.Entries[i].Err)
		}
	}
	if len(errs) > 0 {
		return d.p, &DeleteError{aggregate{errs}}
	}
	return d.p, nil
}

// compile reads DeleteOptions.Protect.
func (d *deletePlanner) compile() error {
	for i, m := range d.o.Protect {
		c, err := compileMatch(m)
		if err != nil {
			return fmt.Errorf("protect: %w", &RuleError{Index: i, Err: err})
		}
		d.protect = append(d.protect, c)
	}
	return nil
}

func (d *deletePlanner) blockAll(err error) {
	for i := range d.p.Entries {
		if e := &d.p.Entries[i]; e.Decision == DecisionDelete || e.Decision == "" {
			e.Decision, e.Err = DecisionBlocked, &ObjectError{ID: e.ID, Op: OpDelete, Message: oneLine(err.Error()), Err: err}
		}
	}
}

// read resolves kinds and judges the live objects.
func (d *deletePlanner) read(ctx context.Context) {
	type kind struct {
		gk      schema.GroupKind
		version string
	}
	kinds := map[kind][]*DeleteEntry{}
	for i := range d.p.Entries {
		if e := &d.p.Entries[i]; e.Decision == "" {
			k := kind{groupKind(e.ID), e.Version}
			kinds[k] = append(kinds[k], e)
		}
	}
	keys := make([]kind, 0, len(kinds))
	for k := range kinds {
		keys = append(keys, k)
	}
	var mu sync.Mutex
	var want []*wanted
	d.m.each(len(keys), func(i int) {
		list := kinds[keys[i]]
		r, err := d.m.resource(ctx, inventory.Item{ID: list[0].ID, Version: list[0].Version})
		mu.Lock()
		defer mu.Unlock()
		for _, e := range list {
			switch {
			case isUnknownKind(err):
				e.Decision, e.Why, e.stays = DecisionUnchanged, WhyKindGone, false
			case err != nil:
				e.fail(err)
			default:
				e.r = r
				want = append(want, &wanted{
					r: r, namespace: e.ID.Namespace, name: e.ID.Name, metadata: !isDefinition(e.ID),
					found: func(l *liveObject, err error) { d.judge(e, l, err) },
				})
			}
		}
	})
	d.m.read(ctx, want, &d.count)
}

func (e *DeleteEntry) fail(err error) {
	e.Decision, e.stays = DecisionBlocked, true
	e.Err = (&masker{}).objectError(e.ID, OpDelete, "", e.live, err)
}

func (e *DeleteEntry) skip(why Why, stays bool) {
	e.Decision, e.Why, e.stays = DecisionSkip, why, stays
}

// judge decides about one live object.
func (d *deletePlanner) judge(e *DeleteEntry, l *liveObject, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err != nil:
		e.fail(fmt.Errorf("read live state: %w", err))
		return
	case l == nil:
		e.Decision, e.Why, e.stays = DecisionUnchanged, WhyGone, false
		return
	}
	recorded := e.uid
	e.live, e.uid, e.rv = l.u, strings.Clone(l.uid()), strings.Clone(l.resourceVersion())
	if !isDefinition(e.ID) {
		e.live = judged(l.u)
	}
	switch {
	case d.keptUID[e.uid]:
		e.skip(WhySameObject, false)
	case !d.m.o.Owner.owns(l.u):
		e.skip(WhyNotOwned, false)
	case recorded != "" && recorded != e.uid:
		e.skip(WhyReplaced, false)
	case d.o.Exclude.Matches(l.u):
		e.skip(WhyExcluded, true)
	case d.o.Keep.Matches(l.u):
		e.skip(WhyKept, true)
	case d.protected(e):
		e.skip(WhyProtected, true)
	case d.inUse(e):
		e.skip(WhyInUse, true)
	default:
		e.Decision, e.Why = DecisionDelete, WhyNotListed
	}
}

func isDefinition(id ID) bool {
	return groupKind(id) == schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
}

// judged returns of an object only what a judgement may depend on, in memory
// of its own: a plan for many objects must not hold all of them.
func judged(u *unstructured.Unstructured) *unstructured.Unstructured {
	texts := func(key string) map[string]any {
		m := nestedMap(u.Object, "metadata", key)
		if len(m) == 0 {
			return nil
		}
		out := make(map[string]any, len(m))
		for k, v := range m {
			if s, ok := v.(string); ok {
				out[k] = strings.Clone(s)
			}
		}
		return out
	}
	meta := map[string]any{"name": strings.Clone(u.GetName())}
	if ns := u.GetNamespace(); ns != "" {
		meta["namespace"] = strings.Clone(ns)
	}
	for _, key := range [...]string{"labels", "annotations"} {
		if m := texts(key); m != nil {
			meta[key] = m
		}
	}
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": u.GetAPIVersion(), "kind": u.GetKind(), "metadata": meta}}
}

func (d *deletePlanner) protected(e *DeleteEntry) bool {
	if groupKind(e.ID) == (schema.GroupKind{Kind: "Namespace"}) {
		switch e.ID.Name {
		case "kube-system", "kube-public", "kube-node-lease", "default":
			return true
		}
	}
	for i := range d.protect {
		if d.protect[i].matches(e.live) {
			return true
		}
	}
	return false
}

// inUse reports whether the entry holds objects of the kept set: a namespace
// with one in it, a definition with an instance.
func (d *deletePlanner) inUse(e *DeleteEntry) bool {
	switch groupKind(e.ID) {
	case schema.GroupKind{Kind: "Namespace"}:
		for it := range d.kept.Items() {
			if it.ID.Namespace == e.ID.Name {
				return true
			}
		}
	case schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:
		group, kind := nestedString(e.live.Object, "spec", "group"), nestedString(e.live.Object, "spec", "names", "kind")
		for it := range d.kept.Items() {
			if it.ID.Group == group && it.ID.Kind == kind {
				return true
			}
		}
	}
	return false
}

// claims spares what another set has in its inventory.
func (d *deletePlanner) claims(ctx context.Context) error {
	ids := d.p.Deletions()
	for i := range d.p.Entries {
		if d.p.Entries[i].Why == WhyNotOwned {
			ids = append(ids, d.p.Entries[i].ID)
		}
	}
	if d.o.Claimed == nil || len(ids) == 0 {
		return nil
	}
	claimed, err := d.o.Claimed(ctx, ids)
	if err != nil {
		return fmt.Errorf("look for claims: %w", err)
	}
	for i := range d.p.Entries {
		d.yield(&d.p.Entries[i], claimed)
	}
	return nil
}

// yield leaves the object to the set that claims it.
func (d *deletePlanner) yield(e *DeleteEntry, claimed map[ID]Owner) {
	by, ok := claimed[e.ID]
	ours := d.m.o.Owner
	if !ok || by.Name == ours.Name && by.Namespace == ours.Namespace {
		return
	}
	switch {
	case e.Decision == DecisionDelete:
		e.skip(WhyMoved, true) // its labels are ours still
	case e.Why == WhyNotOwned:
		other, labelled := ours.ownerOf(e.live)
		moved := labelled && other.Name == labelValue(by.Name) && other.Namespace == labelValue(by.Namespace)
		e.skip(WhyMoved, !moved)
	}
}

// claimed asks again for one object, after it changed.
func (d *deletePlanner) claimed(ctx context.Context, e *DeleteEntry) {
	if d.o.Claimed == nil || e.Decision != DecisionDelete {
		return
	}
	claimed, err := d.o.Claimed(ctx, []ID{e.ID})
	if err != nil {
		e.fail(fmt.Errorf("look for claims: %w", err))
		return
	}
	d.yield(e, claimed)
}

// sort puts the entries in the reverse of the order of an apply.
func (d *deletePlanner) sort() {
	slices.SortStableFunc(d.p.Entries, func(a, b DeleteEntry) int {
		x, y := groupKind(a.ID), groupKind(b.ID)
		return cmp.Or(cmp.Compare(stageOf(d.m.stages, y), stageOf(d.m.stages, x)), cmp.Compare(rankOf(y), rankOf(x)), compareIDs(b.ID, a.ID))
	})
}

// digest is 12 hex digits over the sorted ids to delete.
func (p *DeletePlan) digest() string {
	var lines []string
	for _, id := range p.Deletions() {
		lines = append(lines, id.String()+"\n")
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(sum[:6])
}

var errSurvivors = errors.New("objects are still there")
