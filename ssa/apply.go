// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/fail"
	"github.com/gitops-kit/sdk/ssa/inventory"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	defaultPlanAge      = 10 * time.Minute
	defaultDeferTimeout = 60 * time.Second
	defaultRecreate     = 60 * time.Second
	terminatingWait     = 60 * time.Second
	dependencyWait      = 60 * time.Second
)

// ApplyOptions say how a plan is executed. The zero value writes nothing of a
// stage with a blocked entry.
type ApplyOptions struct {
	// Ledger records the set before the first write and after the last one.
	// nil: the caller keeps the inventory.
	Ledger *inventory.Ledger
	// Digest, when set, must be the plan's.
	Digest string
	// MaxPlanAge refuses older plans. 0: 10 min.
	MaxPlanAge time.Duration
	// DeferTimeout bounds the wait for kinds that neither server nor set
	// knew. 0: 60 s.
	DeferTimeout time.Duration
	// RecreateTimeout bounds the wait for a deleted object to be gone. 0: 60 s.
	RecreateTimeout time.Duration
	// RecreatePropagation is how objects are deleted for recreation. "":
	// background.
	RecreatePropagation metav1.DeletionPropagation
	// RecreateAny allows the recreation of kinds that hold data or other
	// objects: Namespace, CustomResourceDefinition, PersistentVolume and
	// PersistentVolumeClaim.
	RecreateAny bool
	// ContinueOnError writes the valid objects of a stage with blocked or
	// failed ones, and goes on.
	ContinueOnError bool
}

// applier is one call of Apply.
type applier struct {
	m        *Manager
	p        *Plan
	o        ApplyOptions
	entries  []Entry // copies: the plan is not changed
	pl       *planner
	res      *Result
	index    map[ID]int
	intended inventory.Set
	before   inventory.Set
	begun    bool
	extra    []error

	deferring sync.Once
	deferEnd  time.Time // when kinds that stay unknown are given up
}

// Apply executes a plan of this manager, stage by stage. The result is
// complete also when an error is returned: what reached the server, what did
// not, and what is unknown. The error is [ErrForeignPlan], [ErrPlanStale],
// [ErrPlanDigest] or [ErrInventory] when nothing was written, otherwise an
// [*ApplyError].
func (m *Manager) Apply(ctx context.Context, p *Plan, o ApplyOptions) (*Result, error) {
	a := &applier{m: m, o: o, res: &Result{}}
	end, stop := noteEnd(ctx)
	defer stop()
	if p == nil {
		return a.res, fmt.Errorf("apply: no plan: %w", ErrForeignPlan)
	}
	a.p = p
	a.start()
	if err := a.refuse(); err != nil {
		a.res.Stopped = oneLine(err.Error())
		return a.res, fmt.Errorf("apply: %w", err)
	}
	if err := a.begin(ctx); err != nil {
		a.res.Stopped = oneLine(err.Error())
		return a.res, fmt.Errorf("apply: %w", err)
	}
	a.stages(ctx)
	a.res.Requests = a.pl.count.requests()
	if err := a.commit(ctx, end); err != nil {
		a.extra = append(a.extra, err)
	}
	return a.res, a.err(ctx)
}

// start copies the plan's entries and lists their outcomes.
func (a *applier) start() {
	a.entries = slices.Clone(a.p.Entries)
	a.index = make(map[ID]int, len(a.entries))
	a.res.Outcomes = make([]Outcome, len(a.entries))
	for i := range a.entries {
		e := &a.entries[i]
		x := *e.x
		e.x = &x
		a.index[e.ID] = i
		if e.Decision == DecisionBlocked && x.precious != "" && a.o.RecreateAny {
			e.Decision, e.Err = DecisionRecreate, nil
		}
		out := &a.res.Outcomes[i]
		*out = Outcome{ID: e.ID, Version: e.Version, UID: x.liveUID, ResourceVersion: x.liveRV, Action: ActionNotAttempted, Why: e.Why, exists: x.existed, isStatus: x.r.HasStatus}
		if x.desired != nil && e.ID.Kind == "Job" {
			out.vanishes = nestedMap(x.desired.Object, "spec")["ttlSecondsAfterFinished"] != nil
		}
		if e.Decision == DecisionBlocked {
			out.blocked, out.Err = true, e.Err
		}
	}
	a.pl = &planner{m: a.m, p: &Plan{owner: a.p.owner, cluster: a.p.cluster, rules: a.p.rules, mask: a.p.mask}, o: a.p.o}
	a.pl.defined, a.pl.spaces = nil, nil
	known := maps.Clone(a.p.Verified.Tokens) // the plan is its caller's, too
	if known == nil {
		known = map[gvrKey]Token{}
	}
	a.pl.verify = verifier{o: a.p.o, full: true, tokens: &tokens{known: known}}
}

func (a *applier) refuse() error {
	age := a.o.MaxPlanAge
	if age == 0 {
		age = defaultPlanAge
	}
	switch {
	case a.p.owner != a.m.o.Owner || a.p.cluster != a.m.clusterID():
		return ErrForeignPlan
	case time.Since(a.p.made) > age:
		return ErrPlanStale
	case a.o.Digest != "" && a.o.Digest != a.p.Digest:
		return ErrPlanDigest
	}
	return nil
}

// begin stores the union of the old set and everything this run may write.
func (a *applier) begin(ctx context.Context) error {
	writes := false
	for i := range a.entries {
		e := &a.entries[i]
		switch e.Decision {
		case DecisionCreate, DecisionUpdate, DecisionRecreate, DecisionDeferred:
			writes = true
		case DecisionBlocked, DecisionSkip:
			if !e.x.existed {
				continue
			}
		case DecisionUnchanged, DecisionDelete:
		}
		a.intended.Add(inventory.Item{ID: e.ID, Version: e.Version, UID: e.x.liveUID})
	}
	if a.o.Ledger == nil || !writes {
		return nil
	}
	if err := a.o.Ledger.Load(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrInventory, err)
	}
	a.before = a.o.Ledger.Set()
	fail.Point(fpLedgerBegin)
	if err := a.o.Ledger.Begin(ctx, a.intended); err != nil {
		return fmt.Errorf("%w: %w", ErrInventory, err)
	}
	fail.Point(fpLedgerBegun)
	a.begun = true
	return nil
}

// commit stores what exists now. It runs although ctx may have ended.
func (a *applier) commit(ctx context.Context, end *ending) error {
	if a.o.Ledger == nil {
		return nil
	}
	present := a.res.Inventory()
	gone := inventory.Set{}
	if a.begun {
		gone = a.intended.Minus(present).Minus(a.before)
	}
	dctx, cancel := end.drained(ctx, a.m.o.DrainTimeout)
	defer cancel()
	fail.Point(fpLedgerCommit)
	if err := a.o.Ledger.Commit(dctx, present, gone); err != nil {
		return fmt.Errorf("%w: %w", ErrInventory, err)
	}
	fail.Point(fpLedgerDone)
	return nil
}

func (a *applier) err(ctx context.Context) error {
	var errs []error
	for i := range a.res.Outcomes {
		if o := &a.res.Outcomes[i]; o.Err != nil && (o.Action == ActionFailed || o.Action == ActionUnknown || o.blocked) {
			errs = append(errs, o.Err)
		}
	}
	errs = append(errs, a.extra...)
	if err := ctx.Err(); err != nil && !a.res.Complete() {
		errs = append(errs, fmt.Errorf("apply: %w", err))
	}
	if len(errs) == 0 {
		return nil
	}
	return &ApplyError{aggregate{errs}}
}

// stages runs one stage after the other. Entries are in plan order.
func (a *applier) stages(ctx context.Context) {
	for from := 0; from < len(a.entries); {
		to := from
		for to < len(a.entries) && a.entries[to].Stage == a.entries[from].Stage {
			to++
		}
		if !a.stage(ctx, from, to) {
			return
		}
		from = to
	}
}

func (a *applier) stop(why string) bool {
	if a.res.Stopped == "" {
		a.res.Stopped = why
	}
	return false
}

// stage validates, writes and awaits entries[from:to].
func (a *applier) stage(ctx context.Context, from, to int) bool {
	n := a.entries[from].Stage
	if ctx.Err() != nil {
		return a.stop(fmt.Sprintf("stage %d: %v", n, ctx.Err()))
	}
	a.validate(ctx, from, to, false)
	blocked := 0
	for i := from; i < to; i++ {
		if a.entries[i].Decision == DecisionBlocked {
			a.res.Outcomes[i].blocked = true
			blocked++
		}
	}
	if blocked > 0 && !a.o.ContinueOnError {
		return a.stop(fmt.Sprintf("stage %d: %d objects blocked", n, blocked))
	}
	for at := from; at < to; {
		end := at
		for end < to && a.unit(end) == a.unit(at) {
			end++
		}
		if !a.rank(ctx, at, end) {
			return false
		}
		at = end
	}
	return a.await(ctx, from, to)
}

type unit struct{ rank, wave int }

func (a *applier) unit(i int) unit { return unit{a.entries[i].Rank, a.entries[i].x.wave} }

// rank writes entries[from:to] concurrently.
func (a *applier) rank(ctx context.Context, from, to int) bool {
	if ctx.Err() != nil {
		return a.stop(fmt.Sprintf("rank %d: %v", a.entries[from].Rank, ctx.Err()))
	}
	if !a.validate(ctx, from, to, true) && !a.o.ContinueOnError {
		return a.stop(fmt.Sprintf("rank %d: objects blocked", a.entries[from].Rank))
	}
	if a.entries[from].x.wave > 0 {
		a.awaitDependencies(ctx, from, to)
	}
	fail.Point(fpRank)
	a.m.each(to-from, func(k int) {
		i := from + k
		if ctx.Err() == nil {
			a.write(ctx, i)
			fail.Point(fpWrite)
		}
		a.m.report("apply", a.entries[i].ID, string(a.res.Outcomes[i].Action), from+k+1, len(a.entries))
	})
	if ctx.Err() != nil {
		return a.stop(fmt.Sprintf("rank %d: %v", a.entries[from].Rank, ctx.Err()))
	}
	failed := 0
	for i := from; i < to; i++ {
		if act := a.res.Outcomes[i].Action; act == ActionFailed || act == ActionUnknown {
			failed++
		}
	}
	if failed > 0 && !a.o.ContinueOnError {
		return a.stop(fmt.Sprintf("rank %d: %d writes failed", a.entries[from].Rank, failed))
	}
	return a.established(ctx, from, to)
}

// blockedBy returns what keeps the entry from being written although it is
// valid: something it depends on was not applied.
func (a *applier) blockedBy(e *Entry) *ID {
	for _, id := range e.x.depends {
		i, ok := a.index[id]
		if !ok {
			continue
		}
		switch a.res.Outcomes[i].Action {
		case ActionFailed, ActionUnknown, ActionNotAttempted:
			return &id
		case ActionCreated, ActionConfigured, ActionUnchanged, ActionDeleted, ActionSkipped:
		}
	}
	return nil
}

var errDependency = errors.New("a dependency was not applied")

// write brings one object to its desired state.
func (a *applier) write(ctx context.Context, i int) {
	e, out := &a.entries[i], &a.res.Outcomes[i]
	out.Why, out.Changes, out.blocked = e.Why, e.Changes, e.Decision == DecisionBlocked
	switch e.Decision {
	case DecisionUnchanged:
		out.Action = ActionUnchanged
		return
	case DecisionSkip:
		out.Action = ActionSkipped
		return
	case DecisionBlocked, DecisionDeferred:
		out.Action, out.Err = ActionNotAttempted, e.Err
		return
	case DecisionCreate, DecisionUpdate, DecisionRecreate, DecisionDelete:
	}
	if id := a.blockedBy(e); id != nil {
		out.Err = &ObjectError{ID: e.ID, Op: OpApply, Source: e.Source, Message: "depends on " + id.Display() + ", which was not applied", Err: errDependency}
		out.blocked = true
		return
	}
	if e.Decision == DecisionRecreate {
		a.recreate(ctx, e, out)
		return
	}
	a.patch(ctx, e, out)
}

// fail notes a failed write. The object may exist when the outcome is unknown.
func (a *applier) fail(e *Entry, out *Outcome, err error) {
	out.Action = ActionFailed
	if errors.Is(err, ErrUnknownOutcome) {
		out.Action, out.exists = ActionUnknown, true
	}
	out.Err = a.p.mask.objectError(e.ID, OpApply, e.Source, e.x.desired, err)
}

// applied notes the server's reply.
func (a *applier) applied(e *Entry, out *Outcome, l *liveObject, action Action) {
	out.Action, out.exists, out.changed = action, true, true
	out.writers = writersOf(e.x.live, e.Changes, a.m.o.Owner.FieldManager, a.m.o.Limits.fieldsV1())
	if l != nil {
		out.UID, out.ResourceVersion = l.uid(), l.resourceVersion()
		a.settled(e, l)
	}
}

// settled remembers an object whose apply did exactly what was rehearsed.
func (a *applier) settled(e *Entry, l *liveObject) {
	x := e.x
	if a.m.o.Memo == nil || x.result == nil || !same(drifting(x.result.Object), drifting(l.u.Object)) {
		return
	}
	had := *x
	x.live, x.liveUID = l, l.uid()
	a.pl.remember(e)
	*x = had
}

// order sorts entries whose waves were computed.
func sortEntries(entries []Entry) {
	slices.SortStableFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.wave(), b.wave()), compareIDs(a.ID, b.ID))
	})
}

func (e *Entry) wave() int {
	if e.x == nil {
		return 0
	}
	return e.x.wave
}
