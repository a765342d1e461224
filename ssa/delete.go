// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/fail"
	"github.com/gitops-kit/sdk/ssa/inventory"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// deleter is one call of Delete.
type deleter struct {
	m     *Manager
	p     *DeletePlan
	o     DeleteOptions
	res   *Result
	count counter
	extra []error
	index map[ID]int
}

// Delete executes a plan of this manager. Every deletion has the UID and the
// resourceVersion that were judged as preconditions. The result is complete
// also when an error is returned; its Inventory is what must be remembered.
// The error is [ErrForeignPlan], the [*PruneBlockedError] of a plan that was
// refused, or a [*DeleteError].
func (m *Manager) Delete(ctx context.Context, p *DeletePlan, o DeleteOptions) (*Result, error) {
	d := &deleter{m: m, p: p, o: o, res: &Result{}, index: map[ID]int{}}
	if p == nil {
		return d.res, fmt.Errorf("delete: no plan: %w", ErrForeignPlan)
	}
	d.start()
	if p.owner != m.o.Owner || p.cluster != m.clusterID() {
		d.res.Stopped = ErrForeignPlan.Error()
		return d.res, fmt.Errorf("delete: %w", ErrForeignPlan)
	}
	if p.refused != nil {
		d.res.Stopped = oneLine(p.refused.Error())
		return d.res, fmt.Errorf("delete: %w", p.refused)
	}
	if o.Ledger != nil {
		if err := o.Ledger.Load(ctx); err != nil {
			d.res.Stopped = oneLine(err.Error())
			return d.res, fmt.Errorf("delete: %w: %w", ErrInventory, err)
		}
	}
	d.phases(ctx)
	d.res.Requests = d.count.requests()
	if err := d.commit(ctx); err != nil {
		d.extra = append(d.extra, err)
	}
	return d.res, d.err(ctx)
}

func (d *deleter) start() {
	d.res.Outcomes = make([]Outcome, len(d.p.Entries))
	for i := range d.p.Entries {
		e := &d.p.Entries[i]
		d.index[e.ID] = i
		o := Outcome{ID: e.ID, Version: e.Version, UID: e.uid, ResourceVersion: e.rv, Why: e.Why, exists: e.stays, Action: ActionNotAttempted}
		switch e.Decision {
		case DecisionSkip:
			o.Action = ActionSkipped
		case DecisionUnchanged:
			o.Action = ActionDeleted
		case DecisionBlocked:
			o.Action, o.Err = ActionFailed, e.Err
		case DecisionDelete, DecisionCreate, DecisionUpdate, DecisionRecreate, DecisionDeferred:
		}
		d.res.Outcomes[i] = o
	}
}

// phases deletes in the order that the options ask for.
func (d *deleter) phases(ctx context.Context) {
	var all []int
	for i := range d.p.Entries {
		if d.p.Entries[i].Decision == DecisionDelete {
			all = append(all, i)
		}
	}
	if !d.o.Phased {
		d.ranks(ctx, all)
		return
	}
	custom, rest, last := d.split(all)
	for _, phase := range [][]int{custom, rest, last} {
		if !d.phase(ctx, phase) {
			return
		}
	}
}

// split finds the custom resources whose definition is deleted, too, and what
// must go last.
func (d *deleter) split(all []int) (custom, rest, last []int) {
	defined := map[schema.GroupKind]bool{}
	for _, i := range all {
		if e := &d.p.Entries[i]; e.ID.Kind == "CustomResourceDefinition" {
			defined[schema.GroupKind{Group: nestedString(e.live.Object, "spec", "group"), Kind: nestedString(e.live.Object, "spec", "names", "kind")}] = true
		}
	}
	for _, i := range all {
		switch gk := groupKind(d.p.Entries[i].ID); {
		case defined[gk]:
			custom = append(custom, i)
		case gk == schema.GroupKind{Kind: "Namespace"}, gk.Kind == "CustomResourceDefinition":
			last = append(last, i)
		default:
			rest = append(rest, i)
		}
	}
	return custom, rest, last
}

// phase deletes in waves of dependencies and waits until everything is gone.
func (d *deleter) phase(ctx context.Context, list []int) bool {
	for _, wave := range d.waves(list) {
		if !d.ranks(ctx, wave) {
			return false
		}
		if !d.awaitGone(ctx, wave) {
			return false
		}
	}
	return true
}

// waves puts what depends on something before that.
func (d *deleter) waves(list []int) [][]int {
	if len(list) == 0 {
		return nil
	}
	var g Graph[int]
	for _, i := range list {
		g.Add(i)
	}
	for _, i := range list {
		for _, id := range d.p.Entries[i].depends {
			if k, ok := d.index[id]; ok && slices.Contains(list, k) {
				g.Need(k, i)
			}
		}
	}
	waves, err := g.Order()
	if err != nil {
		return [][]int{list} // a circle has no right order
	}
	return waves
}

func (d *deleter) awaitGone(ctx context.Context, list []int) bool {
	var targets []Target
	for _, i := range list {
		if o := &d.res.Outcomes[i]; o.Action == ActionDeleted {
			targets = append(targets, Target{ID: o.ID, Version: o.Version, UID: o.UID})
		}
	}
	if len(targets) == 0 {
		return true
	}
	timeout := d.o.PhaseTimeout
	if timeout == 0 {
		timeout = defaultPhase
	}
	res, err := d.m.Wait(ctx, targets, WaitOptions{Gone: true, Timeout: timeout})
	if err == nil {
		return true
	}
	for _, h := range res.Targets {
		if h.Status == "NotFound" {
			continue
		}
		o := &d.res.Outcomes[d.index[h.ID]]
		o.Action, o.exists = ActionFailed, true
		te := &TerminatingError{ID: h.ID, Finalizers: h.Facts}
		o.Err = &ObjectError{ID: h.ID, Op: OpDelete, Message: te.Error(), Err: te}
	}
	if d.o.ContinueAfterTimeout && ctx.Err() == nil {
		return true
	}
	d.res.Stopped = oneLine(fmt.Sprintf("%v: %v", errSurvivors, err))
	return false
}

// ranks deletes list, which is in order, rank by rank.
func (d *deleter) ranks(ctx context.Context, list []int) bool {
	rank := func(k int) [2]int {
		gk := groupKind(d.p.Entries[list[k]].ID)
		return [2]int{stageOf(d.m.stages, gk), rankOf(gk)}
	}
	for from := 0; from < len(list); {
		to := from
		for to < len(list) && rank(to) == rank(from) {
			to++
		}
		spared := d.spared()
		d.m.each(to-from, func(k int) {
			i := list[from+k]
			if ctx.Err() == nil {
				fail.Point(fpPruneEach)
				if o := &d.res.Outcomes[i]; spared.has(&d.p.Entries[i]) {
					o.Action, o.Why, o.exists = ActionSkipped, WhyInUse, true
				} else {
					d.remove(ctx, i)
				}
				fail.Point(fpPruned)
			}
			d.m.report("delete", d.p.Entries[i].ID, string(d.res.Outcomes[i].Action), from+k+1, len(list))
		})
		if ctx.Err() != nil {
			d.res.Stopped = ctx.Err().Error()
			return false
		}
		from = to
	}
	return true
}

// spared are the objects that were to be deleted and were left alone after
// all, because somebody changed them since the plan.
func (d *deleter) spared() *holders {
	var h holders
	for i := range d.p.Entries {
		o := &d.res.Outcomes[i]
		var refused *PruneBlockedError
		if d.p.Entries[i].Decision == DecisionDelete && o.exists && (o.Action == ActionSkipped || errors.As(o.Err, &refused)) {
			h.add(o.ID)
		}
	}
	return &h
}

// remove deletes one object. When it was changed meanwhile it is judged anew.
func (d *deleter) remove(ctx context.Context, i int) {
	e, out := d.p.Entries[i], &d.res.Outcomes[i]
	propagation := d.o.Propagation
	if propagation == "" {
		propagation = metav1.DeletePropagationBackground
	}
	for try := 1; ; try++ {
		d.count.del.Add(1)
		_, err := d.m.c.Send(ctx, Write{
			Verb: VerbDelete, Resource: e.r, Namespace: e.ID.Namespace, Name: e.ID.Name,
			UID: e.uid, ResourceVersion: e.rv, Propagation: propagation, Drain: d.m.o.DrainTimeout,
		})
		switch {
		case err == nil || isAbsent(err):
			out.Action, out.exists = ActionDeleted, false
			return
		case !apierrors.IsConflict(err) || try >= maxTries || ctx.Err() != nil:
			d.failed(&e, out, err)
			return
		}
		if done := d.again(ctx, &e, out); done {
			return
		}
	}
}

func (d *deleter) failed(e *DeleteEntry, out *Outcome, err error) {
	out.Action, out.exists = ActionFailed, true
	if errors.Is(err, ErrUnknownOutcome) {
		out.Action = ActionUnknown
	}
	out.Err = d.m.masker().objectError(e.ID, OpDelete, "", e.live, err)
}

// again reads the object and judges it as the plan did. It reports whether
// nothing is left to do.
func (d *deleter) again(ctx context.Context, e *DeleteEntry, out *Outcome) bool {
	uid := e.uid
	d.count.get.Add(1)
	l, err := d.m.get(ctx, e.r, e.ID.Namespace, e.ID.Name)
	if err == nil && l != nil && l.uid() != uid {
		out.Action, out.Why, out.exists = ActionSkipped, WhyReplaced, false
		return true
	}
	for _, o := range [...]DeleteOptions{d.p.spare, d.o} { // spared by either is spared
		j := &deletePlanner{m: d.m, o: o}
		e.Decision = ""
		if cerr := j.compile(); cerr != nil {
			e.fail(cerr)
		} else {
			j.judge(e, l, err)
			j.claimed(ctx, e)
		}
		if e.Decision != DecisionDelete {
			break
		}
	}
	if e.Decision == DecisionDelete && d.p.confirm.Matches(l.object()) {
		e.fail(&PruneBlockedError{Why: PruneConfirm, IDs: []ID{e.ID}, Digest: d.p.Digest})
	}
	switch e.Decision {
	case DecisionDelete:
		return false
	case DecisionBlocked:
		out.Action, out.Err, out.exists = ActionFailed, e.Err, true
	case DecisionUnchanged:
		out.Action, out.exists = ActionDeleted, false
	default:
		out.Action, out.Why, out.exists = ActionSkipped, e.Why, e.stays
	}
	return true
}

// commit takes what is gone out of the inventory.
func (d *deleter) commit(ctx context.Context) error {
	if d.o.Ledger == nil {
		return nil
	}
	var gone inventory.Set
	for i := range d.res.Outcomes {
		if o := &d.res.Outcomes[i]; !o.exists {
			gone.Add(inventory.Item{ID: o.ID, Version: o.Version})
		}
	}
	dctx, cancel := drained(ctx, d.m.o.DrainTimeout, time.Minute)
	defer cancel()
	fail.Point(fpLedgerCommit)
	if err := d.o.Ledger.Commit(dctx, inventory.Set{}, gone); err != nil {
		return fmt.Errorf("%w: %w", ErrInventory, err)
	}
	fail.Point(fpLedgerDone)
	return nil
}

func (d *deleter) err(ctx context.Context) error {
	var errs []error
	for i := range d.res.Outcomes {
		if o := &d.res.Outcomes[i]; o.Err != nil {
			errs = append(errs, o.Err)
		}
	}
	errs = append(errs, d.extra...)
	if err := ctx.Err(); err != nil && !d.res.Complete() {
		errs = append(errs, fmt.Errorf("delete: %w", err))
	}
	if len(errs) == 0 {
		return nil
	}
	return &DeleteError{aggregate{errs}}
}
