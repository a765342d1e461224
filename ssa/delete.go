// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

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
	users map[int][]int // who depends on an entry
}

// Delete executes a plan of this manager. Every deletion has the UID and the
// resourceVersion that were judged as preconditions. The result is complete
// also when an error is returned; its Inventory is what must be remembered.
// The error is [ErrForeignPlan], the [*PruneBlockedError] of a plan that was
// refused, or a [*DeleteError].
func (m *Manager) Delete(ctx context.Context, p *DeletePlan, o DeleteOptions) (*Result, error) {
	d := &deleter{m: m, p: p, o: o, res: &Result{}, index: map[ID]int{}}
	end, stop := noteEnd(ctx)
	defer stop()
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
	if err := d.commit(ctx, end); err != nil {
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
	waves := d.waves(all)
	if !d.o.Phased {
		d.ranks(ctx, d.postponed(all, waves), false)
		return
	}
	phase := d.split(all, waves)
	for n := range phaseCount {
		for _, wave := range waves {
			var list []int
			for _, i := range wave {
				if phase[i] == n {
					list = append(list, i)
				}
			}
			if !d.ranks(ctx, d.postponed(list, nil), true) || !d.awaitGone(ctx, list) {
				return
			}
		}
	}
}

// The phases of a teardown.
const (
	phaseCustom = iota // custom resources whose definition is deleted, too
	phaseRest
	phaseLast // namespaces and definitions
	phaseCount
)

// split finds the phase of each entry. What depends on something is deleted
// no later than that.
func (d *deleter) split(all []int, waves [][]int) map[int]int {
	defined := map[schema.GroupKind]bool{}
	for _, i := range all {
		if e := &d.p.Entries[i]; isDefinition(e.ID) {
			defined[schema.GroupKind{Group: nestedString(e.live.Object, "spec", "group"), Kind: nestedString(e.live.Object, "spec", "names", "kind")}] = true
		}
	}
	phase := make(map[int]int, len(all))
	for _, i := range all {
		switch id := d.p.Entries[i].ID; {
		case defined[groupKind(id)]:
			phase[i] = phaseCustom
		case groupKind(id) == schema.GroupKind{Kind: "Namespace"}, isDefinition(id):
			phase[i] = phaseLast
		default:
			phase[i] = phaseRest
		}
	}
	for n := len(waves) - 1; n >= 0; n-- {
		for _, i := range waves[n] {
			for _, k := range d.users[i] {
				phase[k] = min(phase[k], phase[i])
			}
		}
	}
	return phase
}

// waves puts what depends on something before that, and notes who depends on
// what.
func (d *deleter) waves(list []int) [][]int {
	d.users = map[int][]int{}
	in := make(map[int]bool, len(list))
	var g Graph[int]
	for _, i := range list {
		in[i] = true
		g.Add(i)
	}
	for _, i := range list {
		for _, id := range d.p.Entries[i].depends {
			if k, ok := d.index[id]; ok && in[k] {
				g.Need(k, i)
				d.users[k] = append(d.users[k], i)
			}
		}
	}
	waves, err := g.Order()
	if err != nil {
		d.users = map[int][]int{}
		return [][]int{list} // a circle has no right order
	}
	return waves
}

// turn is when an entry is deleted: entries of one turn at once.
type turn struct{ stage, rank, wave int }

func (t turn) compare(o turn) int {
	return cmp.Or(cmp.Compare(o.stage, t.stage), cmp.Compare(o.rank, t.rank), cmp.Compare(t.wave, o.wave))
}

// postponed is the list with the turn of each entry: that of its kind, or
// after what depends on it.
func (d *deleter) postponed(list []int, waves [][]int) []turnOf {
	turns := make(map[int]turn, len(list))
	for _, i := range list {
		gk := groupKind(d.p.Entries[i].ID)
		turns[i] = turn{stage: stageOf(d.m.stages, gk), rank: rankOf(gk)}
	}
	for _, wave := range waves {
		for _, i := range wave {
			for _, k := range d.users[i] {
				after := turns[k]
				after.wave++
				if turns[i].compare(after) < 0 {
					turns[i] = after
				}
			}
		}
	}
	out := make([]turnOf, len(list))
	for n, i := range list {
		out[n] = turnOf{i, turns[i]}
	}
	slices.SortStableFunc(out, func(a, b turnOf) int { return a.turn.compare(b.turn) })
	return out
}

type turnOf struct {
	entry int
	turn  turn
}

// awaitGone waits until what was deleted is gone.
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
	w := d.m.newWaiter(targets, WaitOptions{Gone: true, Timeout: timeout})
	w.run(ctx)
	err := w.Err()
	if err == nil {
		return true
	}
	for _, te := range w.survivors() {
		o := &d.res.Outcomes[d.index[te.ID]]
		o.Action, o.exists = ActionFailed, true
		o.Err = &ObjectError{ID: te.ID, Op: OpDelete, Message: te.Error(), Err: te}
	}
	if d.o.ContinueAfterTimeout && ctx.Err() == nil {
		return true
	}
	d.res.Stopped = oneLine(fmt.Sprintf("%v: %v", errSurvivors, err))
	return false
}

// ranks deletes list turn by turn. With strict it stops when a deletion failed,
// unless the options say to go on.
func (d *deleter) ranks(ctx context.Context, list []turnOf, strict bool) bool {
	for from := 0; from < len(list); {
		to := from
		for to < len(list) && list[to].turn == list[from].turn {
			to++
		}
		left := d.left()
		d.m.each(to-from, func(k int) {
			i := list[from+k].entry
			if ctx.Err() == nil {
				fail.Point(fpPruneEach)
				if o := &d.res.Outcomes[i]; left.has(&d.p.Entries[i]) || d.needed(i) {
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
		for _, t := range list[from:to] {
			if o := &d.res.Outcomes[t.entry]; strict && !d.o.ContinueAfterTimeout && o.Err != nil {
				d.res.Stopped = oneLine(fmt.Sprintf("%v: %v", errSurvivors, o.Err))
				return false
			}
		}
		from = to
	}
	return true
}

// left are the objects that were to be deleted and are not: spared after all,
// because somebody changed them since the plan, or refused by the server.
func (d *deleter) left() *holders {
	var h holders
	for i := range d.p.Entries {
		if d.remains(i) {
			h.add(d.p.Entries[i].ID)
		}
	}
	return &h
}

// remains reports whether an object that was to be deleted is there and its
// deletion was not accepted.
func (d *deleter) remains(i int) bool {
	if d.p.Entries[i].Decision != DecisionDelete {
		return false
	}
	switch o := &d.res.Outcomes[i]; o.Action {
	case ActionSkipped:
		return o.exists || o.holds
	case ActionFailed, ActionUnknown:
		var te *TerminatingError
		return !errors.As(o.Err, &te)
	default:
		return false
	}
}

// needed reports whether something that depends on the object remains.
func (d *deleter) needed(i int) bool {
	return slices.ContainsFunc(d.users[i], d.remains)
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
	l, err := d.m.fresh(ctx, e.r, e.ID.Namespace, e.ID.Name)
	if err == nil && l != nil && l.uid() != uid {
		_, labelled := d.m.o.Owner.ownerOf(l.u)
		out.Action, out.Why, out.exists, out.holds = ActionSkipped, WhyReplaced, false, labelled
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
			out.holds = j.spared(e)
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
func (d *deleter) commit(ctx context.Context, end *ending) error {
	if d.o.Ledger == nil {
		return nil
	}
	var gone inventory.Set
	for i := range d.res.Outcomes {
		if o := &d.res.Outcomes[i]; !o.exists {
			gone.Add(inventory.Item{ID: o.ID, Version: o.Version})
		}
	}
	dctx, cancel := end.drained(ctx, d.m.o.DrainTimeout)
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
