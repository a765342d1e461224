// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/limits"
	"github.com/gitops-kit/sdk/ssa/inventory"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Decision says what a plan will do with an object.
type Decision string

// The decisions.
const (
	DecisionCreate    Decision = "create"
	DecisionUpdate    Decision = "update"
	DecisionRecreate  Decision = "recreate" // delete, then create: only where a field is immutable
	DecisionUnchanged Decision = "unchanged"
	DecisionSkip      Decision = "skip"     // left alone on purpose
	DecisionDeferred  Decision = "deferred" // can be decided only during the apply
	DecisionBlocked   Decision = "blocked"  // cannot be applied; Entry.Err says why
)

// Why is the ground of a decision.
type Why string

// Grounds of decisions.
const (
	WhyProved         Why = "Proved"         // managedFields show that nothing would change
	WhyRemembered     Why = "Remembered"     // equal to what the server found unchanged before
	WhyVerified       Why = "Verified"       // the server's dry-run changed nothing
	WhyExcluded       Why = "Excluded"       // PlanOptions.Exclude
	WhyPresent        Why = "Present"        // PlanOptions.IfNotPresent
	WhyIgnored        Why = "Ignored"        // an ignore rule for the whole object
	WhyTerminating    Why = "Terminating"    // the live object is being deleted
	WhyTakeover       Why = "Takeover"       // fields of other managers become ours
	WhyOwnership      Why = "Ownership"      // only the recorded field set changes
	WhyUnverified     Why = "Unverified"     // the server could not rehearse it
	WhyDirect         Why = "Direct"         // not rehearsed, by PlanOptions.Direct
	WhyLiveUnreadable Why = "LiveUnreadable" // the live state could not be read
	WhyUnknownKind    Why = "UnknownKind"    // the kind is not served yet
	WhyNewNamespace   Why = "NewNamespace"   // the namespace is created by the set
	WhyNewDefinition  Why = "NewDefinition"  // the kind's definition is changed by the set
	WhyEntryVersion   Why = "EntryVersion"   // our fields are recorded in another API version
	WhyChanged        Why = "Changed"        // see Entry.Changes
	WhyAbsent         Why = "Absent"         // there is no live object
	WhyImmutable      Why = "Immutable"      // an immutable field changes
	WhyInvalid        Why = "Invalid"        // the object cannot be applied as it is
)

// Entry is the plan for one object.
type Entry struct {
	ID       ID
	Version  string // API version without group
	Stage    int
	Rank     int
	Decision Decision
	Why      Why
	// Unproved says why a request was needed to decide; "" when none was.
	Unproved string
	// Changes of an update or recreation, against the live object.
	Changes []Change
	// Other is the owner whose object this was; nil when it is ours or new.
	Other *Owner
	// Err is the *ObjectError of a blocked entry.
	Err error
	// Source is "file:line" where PlanOptions.Provenance knows it.
	Source string

	x *work
}

// work is what planning and applying need of an entry besides its results.
type work struct {
	desired  *unstructured.Unstructured // normalised
	sent     *unstructured.Unstructured // desired after ignore rules
	r        Resource
	live     *liveObject
	asked    *liveObject // as first read, for Explain
	existed  bool        // live was found
	liveUID  string      // kept when live is dropped
	liveRV   string
	ignore   []pointer
	result   *unstructured.Unstructured // the server's dry-run
	last     bool                       // belongs to the last wave (SSA-18)
	pending  bool                       // needs a request to decide
	takeover *takeover
	precious string // why Apply refuses to recreate it
	depends  []ID
	wave     int // position in a chain of dependencies
	index    int // of the input
}

// PlanOptions say how a plan is made. The zero value applies everything,
// takes conflicting fields and never recreates.
type PlanOptions struct {
	// Force allows the recreation of objects whose immutable fields change.
	Force bool
	// Ignore names fields that may drift.
	Ignore []PathRule
	// Takeover makes fields of other managers ours.
	Takeover Takeover
	// MigrateAPIVersion rewrites recorded fields of older API versions.
	MigrateAPIVersion bool
	// SyncOwnership makes an object whose values are right an update when its
	// recorded field set is not.
	SyncOwnership bool
	// Exclude leaves matching objects alone.
	Exclude Selector
	// IfNotPresent creates matching objects and never changes them. Apply
	// looks once more, by one GET, before it creates one.
	IfNotPresent Selector
	// ForceSelector is Force for matching objects.
	ForceSelector Selector
	// NoTakeover exempts matching objects from Takeover.
	NoTakeover Selector
	// DeferUnknownKinds waits during the apply for kinds that neither server
	// nor set knows.
	DeferUnknownKinds bool
	// DependsOnAnnotation obeys config.kubernetes.io/depends-on inside the set.
	DependsOnAnnotation bool
	// Direct creates objects without a rehearsal.
	Direct bool
	// AllowUnverified accepts objects whose admission webhooks cannot be
	// rehearsed.
	AllowUnverified bool
	// FailOnConflict blocks an object whose fields another manager owns;
	// otherwise they are taken.
	FailOnConflict bool
	// FailOnOtherOwner blocks an object that carries another owner's labels;
	// otherwise the labels move and Entry.Other names the owner.
	FailOnOtherOwner bool
	// OwnerExists, when set, forgives owners that are gone.
	OwnerExists func(context.Context, Owner) (bool, error)
	// Verified is Plan.Verified of the previous plan.
	Verified Verification
	// VerifyEvery is the number of plans of which one asks the server about
	// every object. 0: 10; 1: always; negative: refused.
	VerifyEvery int
	// VerifyMaxAge is the longest time between two of those. 0: 12 h.
	VerifyMaxAge time.Duration
	// Verify, when set, asks the server about the objects it selects.
	Verify func(ID) bool
	// Provenance, when set, names where an input object is from. It is
	// called with the input pointers.
	Provenance func(*unstructured.Unstructured) string
}

// Plan is what an apply will do. Its JSON is stable: no timestamps, values of
// Secrets masked.
type Plan struct {
	// Entries, one per input object, in the order of the apply.
	Entries []Entry
	// Verified goes into PlanOptions.Verified of the next plan.
	Verified Verification
	// Requests that planning took.
	Requests Requests
	// Unproved counts the entries that a request was needed to decide, by
	// Entry.Unproved; nil when there is none.
	Unproved map[string]int
	// Digest identifies the content: equal input and live state give an equal
	// digest.
	Digest string

	owner   Owner
	cluster string
	made    time.Time
	o       PlanOptions
	rules   []compiledRule
	mask    *masker
}

// planner is one call of Plan, or of the validation of deferred entries.
type planner struct {
	m       *Manager
	p       *Plan
	o       PlanOptions
	count   counter
	verify  verifier
	defined map[schema.GroupVersionKind]ID // kinds that the set defines
	spaces  map[string]*Entry              // namespaces that the set holds
}

// Plan decides what applying the objects would do. It changes nothing, neither
// in the cluster nor in the input. The plan is complete also when an error is
// returned; that is a [*PlanError] with one [*ObjectError] per blocked object,
// a [*RuleError], a [*LimitError] or the end of ctx.
func (m *Manager) Plan(ctx context.Context, objects []*unstructured.Unstructured, o PlanOptions) (*Plan, error) {
	p := &Plan{Entries: make([]Entry, len(objects)), owner: m.o.Owner, cluster: m.clusterID(), made: time.Now(), o: o, mask: m.masker()}
	pl := &planner{m: m, p: p, o: o}
	pl.prepare(objects)
	if err := pl.check(len(objects)); err != nil {
		for i := range p.Entries {
			p.Entries[i].block(WhyInvalid, OpLimit, err)
		}
		p.finish(m)
		return p, err
	}
	pl.resolve(ctx)
	pl.verify = m.verifier(ctx, o, p)
	pl.readLive(ctx)
	pl.rehearse(ctx, pl.definer)
	pl.deferrals()
	pl.rehearse(ctx, func(*Entry) bool { return true })
	pl.dependencies(ctx)
	p.Verified = pl.verify.done(p)
	p.Requests = pl.count.requests()
	p.finish(m)
	if err := ctx.Err(); err != nil {
		return p, fmt.Errorf("plan: %w", err)
	}
	return p, p.err()
}

// check refuses options and sizes before any request.
func (pl *planner) check(n int) error {
	if pl.o.VerifyEvery < 0 {
		return fmt.Errorf("plan: VerifyEvery is negative: %w", ErrInvalidObject)
	}
	if err := limits.Check("objects", pl.m.o.Limits.objects(), int64(n)); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	rules, err := compileRules(pl.o.Ignore, pl.m.o.Limits)
	if err != nil {
		return fmt.Errorf("plan: ignore: %w", err)
	}
	pl.p.rules = rules
	return nil
}

// finish sorts the entries and computes the digest.
func (p *Plan) finish(m *Manager) {
	for i := range p.Entries {
		if why := p.Entries[i].Unproved; why != "" {
			if p.Unproved == nil {
				p.Unproved = map[string]int{}
			}
			p.Unproved[why]++
		}
	}
	sortEntries(p.Entries)
	p.Digest = p.digest(m.o.DigestKey)
}

func (p *Plan) err() error {
	var errs []error
	for i := range p.Entries {
		if e := &p.Entries[i]; e.Decision == DecisionBlocked && e.Err != nil {
			errs = append(errs, e.Err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &PlanError{aggregate{errs}}
}

// Inventory returns the objects that the set will have: all but blocked ones
// that do not exist and skipped ones that do not exist.
func (p *Plan) Inventory() inventory.Set {
	var s inventory.Set
	for i := range p.Entries {
		e := &p.Entries[i]
		if e.x == nil || (e.Decision == DecisionBlocked || e.Decision == DecisionSkip) && !e.x.existed {
			continue
		}
		s.Add(inventory.Item{ID: e.ID, Version: e.Version, UID: e.x.liveUID})
	}
	return s
}

// Complete reports whether every object was decided and none is blocked.
func (p *Plan) Complete() bool {
	for i := range p.Entries {
		if d := p.Entries[i].Decision; d == DecisionBlocked || d == DecisionDeferred || d == "" {
			return false
		}
	}
	return true
}

var _ Kept = (*Plan)(nil)

// block makes the entry blocked by err.
func (e *Entry) block(why Why, op string, err error) {
	e.Decision, e.Why = DecisionBlocked, why
	var oe *ObjectError
	if !errors.As(err, &oe) {
		oe = &ObjectError{ID: e.ID, Op: op, Source: e.Source, Message: oneLine(err.Error()), Err: err}
	}
	e.Err = oe
	if e.x != nil {
		e.x.pending = false
	}
}

func (e *Entry) decide(d Decision, w Why) {
	e.Decision, e.Why = d, w
	e.x.pending = false
}

// keep remembers of the live object what later steps need when it is dropped.
func (w *work) keep(l *liveObject) {
	w.live, w.asked = l, l
	if l != nil {
		w.existed, w.liveUID, w.liveRV = true, l.uid(), l.resourceVersion()
	}
}
