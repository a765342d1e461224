// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gitops-kit/sdk/ssa/internal/fieldset"
	"github.com/gitops-kit/sdk/ssa/internal/proof"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// judge makes every decision that the live object alone allows. What it
// cannot decide stays pending, for rehearse.
func (pl *planner) judge(ctx context.Context, e *Entry, l *liveObject, err error) {
	x := e.x
	if err != nil {
		e.block(WhyLiveUnreadable, OpRead, pl.readError(e, err))
		return
	}
	x.keep(l)
	o := &pl.o
	switch {
	case o.Exclude.either(x.desired, l.object()):
		e.decide(DecisionSkip, WhyExcluded)
		return
	case l != nil && o.IfNotPresent.Matches(x.desired):
		e.decide(DecisionSkip, WhyPresent)
		return
	}
	if l == nil {
		e.Why = WhyAbsent
		return
	}
	if _, whole := pathsFor(pl.p.rules, x.desired); whole {
		e.decide(DecisionSkip, WhyIgnored)
		return
	}
	if err := pl.otherOwner(ctx, e); err != nil {
		e.block(WhyInvalid, OpRead, err)
		return
	}
	if l.terminating() {
		e.decide(DecisionDeferred, WhyTerminating)
		return
	}
	x.sent = pl.sendable(e)
	if x.takeover = pl.takeoverOf(e); x.takeover != nil {
		e.Unproved = "Pending"
		return
	}
	if why := pl.proved(e); why != proof.Proved {
		e.Unproved = why
		return
	}
	e.Unproved = ""
	x.live, x.asked = nil, nil // proved: the object itself is not needed any more
}

// readError names the object whose live state could not be read.
func (pl *planner) readError(e *Entry, err error) error {
	oe := pl.p.mask.objectError(e.ID, OpRead, e.Source, e.x.desired, err)
	return oe
}

// otherOwner notes or refuses an object that carries another owner's labels.
func (pl *planner) otherOwner(ctx context.Context, e *Entry) error {
	owner := pl.m.o.Owner
	other, ok := owner.ownerOf(e.x.live.u)
	if !ok || owner.owns(e.x.live.u) {
		return nil
	}
	e.Other = &other
	if !pl.o.FailOnOtherOwner {
		return nil
	}
	if pl.o.OwnerExists != nil {
		exists, err := pl.o.OwnerExists(ctx, other)
		if err != nil {
			return fmt.Errorf("look for the other owner: %w", err)
		}
		if !exists {
			return nil
		}
	}
	return &OwnerConflictError{Other: other}
}

// proved tries the static proof, then the memo.
func (pl *planner) proved(e *Entry) string {
	x := e.x
	if why := pl.verify.due(e); why != "" {
		return why
	}
	managers := x.live.managers()
	at := own(managers, pl.m.o.Owner.FieldManager)
	if at >= 0 && pl.verify.changedSince(e, managers[at].Time) {
		return "Token"
	}
	why := pl.static(e, managers, at)
	if why != proof.Proved {
		return pl.remembered(e, why)
	}
	e.decide(DecisionUnchanged, WhyProved)
	return proof.Proved
}

// static proves from managedFields alone that an apply would change nothing;
// at is the index of our element. It returns why it cannot.
func (pl *planner) static(e *Entry, managers []manager, at int) string {
	x := e.x
	if at < 0 {
		return "NoEntry"
	}
	entry := &managers[at]
	if entry.APIVersion != x.sent.GetAPIVersion() {
		return string(WhyEntryVersion)
	}
	max := pl.m.o.Limits.fieldsV1()
	set, err := entry.fields(max)
	if err != nil {
		return "BadEntry"
	}
	in := proof.Input{Payload: x.sent.Object, Live: x.live.u.Object, Own: &set, Others: othersOf(managers, at, max), Exact: pl.o.SyncOwnership}
	// For conflicts the server compares quantities as they are written: another
	// spelling of one that somebody else owns, too, is a conflict.
	if gk := groupKind(e.ID); builtinGroup(gk.Group) && !pl.o.FailOnConflict {
		in.Quantity = func(names []string) bool { return proof.BuiltinQuantity(gk.Kind, names) }
	}
	return proof.Prove(in)
}

// othersOf parses the other managers' sets when they are asked for.
func othersOf(managers []manager, own int, max int64) func() ([]fieldset.Set, bool) {
	var sets []fieldset.Set
	parsed, ok := false, true
	return func() ([]fieldset.Set, bool) {
		if parsed {
			return sets, ok
		}
		parsed = true
		for i := range managers {
			if i == own {
				continue
			}
			s, err := managers[i].fields(max)
			if err != nil {
				ok = false
				return nil, false
			}
			sets = append(sets, s)
		}
		return sets, true
	}
}

// builtinGroup reports whether the API group is served by the API server
// itself, with types of its own.
func builtinGroup(group string) bool {
	switch group {
	case "", "apps", "batch", "autoscaling", "policy":
		return true
	}
	return false
}

// rehearse asks the server about what is still pending.
func (pl *planner) rehearse(ctx context.Context, which func(*Entry) bool) {
	var todo []*Entry
	for i := range pl.p.Entries {
		if e := &pl.p.Entries[i]; e.x.pending && which(e) {
			todo = append(todo, e)
		}
	}
	slices.SortStableFunc(todo, func(a, b *Entry) int { return a.Rank - b.Rank })
	pl.m.each(len(todo), func(i int) {
		e := todo[i]
		if err := ctx.Err(); err != nil {
			e.block(WhyInvalid, OpDryRun, err)
			return
		}
		pl.ask(ctx, e)
		pl.m.report("plan", e.ID, string(e.Decision), i+1, len(todo))
	})
}

// ask decides one entry by a dry-run.
func (pl *planner) ask(ctx context.Context, e *Entry) {
	x := e.x
	if x.live == nil && pl.o.Direct {
		e.decide(DecisionCreate, WhyDirect)
		return
	}
	result, err := pl.dryRun(ctx, e)
	switch {
	case err == nil:
		x.result = result
		pl.catchUp(ctx, e)
		pl.compare(e)
		if x.result != nil { // most of its memory, and of no further use
			delete(nestedMap(x.result.Object, "metadata"), "managedFields")
		}
	case x.live == nil:
		pl.refusedDryRun(e, err, DecisionCreate)
	default:
		if fields := immutableFields(err); len(fields) > 0 {
			pl.immutable(ctx, e, fields, err)
			return
		}
		if x.takeover != nil && x.takeover.explains(err) {
			e.Changes = pl.p.mask.taken(e)
			e.decide(DecisionUpdate, WhyTakeover)
			e.Unproved = string(WhyUnverified)
			return
		}
		pl.refusedDryRun(e, err, DecisionUpdate)
	}
}

// catchUp reads the live object anew when somebody wrote it between our
// reading and the dry-run: what they changed is not drift. Where they go on
// writing, it asks again, too.
func (pl *planner) catchUp(ctx context.Context, e *Entry) {
	x := e.x
	behind := func() bool {
		if x.result.GetResourceVersion() == x.liveRV {
			return false
		}
		live, result := pl.comparable(e)
		return !same(live, result)
	}
	for try := 1; x.live != nil && behind(); try++ {
		pl.count.get.Add(1)
		l, err := pl.m.fresh(ctx, x.r, e.ID.Namespace, e.ID.Name)
		if err != nil || l == nil || l.uid() != x.liveUID {
			return
		}
		before := x.live
		x.keep(l)
		if !behind() {
			return
		}
		x.sent = pl.sendable(e)
		if _, once := pl.m.o.Live.(onlyGet); once || try == maxTries {
			x.keep(before)
			return
		}
		result, err := pl.dryRun(ctx, e)
		if err != nil {
			x.keep(before)
			return
		}
		x.result = result
	}
}

// refusedDryRun blocks the entry, unless only the rehearsal was refused and
// the caller accepts that.
func (pl *planner) refusedDryRun(e *Entry, err error, otherwise Decision) {
	if hook, ok := dryRunUnsupported(err); ok {
		if pl.o.AllowUnverified {
			if otherwise == DecisionUpdate && pl.provable(e) {
				otherwise = DecisionUnchanged
			}
			e.decide(otherwise, WhyUnverified)
			return
		}
		err = &DryRunUnsupportedError{Webhook: hook}
	}
	if pl.o.FailOnConflict {
		if c := conflictOf(err); c != nil {
			err = c
		}
	}
	oe := pl.p.mask.objectError(e.ID, OpDryRun, e.Source, e.x.desired, err)
	if names := othersAt(e.x.live, err, pl.m.o.Owner.FieldManager); len(names) > 0 {
		oe.Message = oneLine(oe.Message + "; also owned by " + strings.Join(names, ", "))
	}
	e.block(WhyInvalid, OpDryRun, oe)
}

// provable reports whether the proof alone finds the entry unchanged, whether
// or not asking the server was due.
func (pl *planner) provable(e *Entry) bool {
	if e.x.takeover != nil {
		return false
	}
	managers := e.x.live.managers()
	return pl.static(e, managers, own(managers, pl.m.o.Owner.FieldManager)) == proof.Proved
}

// compare decides between unchanged and update by the server's result.
func (pl *planner) compare(e *Entry) {
	x := e.x
	if x.live == nil {
		e.decide(DecisionCreate, WhyAbsent)
		return
	}
	live, result := pl.comparable(e)
	e.Changes = pl.p.mask.changes(e, live, result)
	if x.takeover != nil {
		e.Changes = append(e.Changes, pl.p.mask.taken(e)...)
		slices.SortStableFunc(e.Changes, compareChanges)
		e.decide(DecisionUpdate, WhyTakeover)
		return
	}
	if len(e.Changes) == 0 && same(live, result) {
		if pl.o.SyncOwnership && pl.ownershipDiffers(e) {
			e.decide(DecisionUpdate, WhyOwnership)
			return
		}
		e.decide(DecisionUnchanged, WhyVerified)
		if x.result.GetResourceVersion() == x.liveRV {
			pl.remember(e)
		}
		x.live, x.result = nil, nil
		if pl.o.Verify == nil {
			x.asked = nil
		}
		return
	}
	e.decide(DecisionUpdate, WhyChanged)
	if e.Unproved == string(WhyEntryVersion) {
		e.Why = WhyEntryVersion
	}
}

// comparable returns live object and dry-run result without what does not
// count as drift.
func (pl *planner) comparable(e *Entry) (live, result map[string]any) {
	x := e.x
	keys := keyFinder{}
	if len(x.ignore) > 0 {
		keys = x.live.keys(pl.m.o.Limits.fieldsV1())
	}
	live = drifting(strip(x.live.u.Object, x.desired.Object, x.ignore, keys))
	result = drifting(strip(x.result.Object, x.desired.Object, x.ignore, keys))
	return live, result
}

// drifting reduces an object to labels, annotations and everything outside
// metadata and status.
func drifting(o map[string]any) map[string]any {
	out := maps.Clone(o)
	delete(out, "status")
	delete(out, "metadata")
	meta := nestedMap(o, "metadata")
	m := map[string]any{}
	for _, k := range [...]string{"labels", "annotations"} {
		if !empty(meta[k]) {
			m[k] = meta[k]
		}
	}
	if len(m) > 0 {
		out["metadata"] = m
	}
	return out
}

// ownershipDiffers reports whether applying would change our field set.
func (pl *planner) ownershipDiffers(e *Entry) bool {
	manager := pl.m.o.Owner.FieldManager
	before := e.x.live.managers()
	after := (&liveObject{u: e.x.result}).managers()
	b, a := own(before, manager), own(after, manager)
	if b < 0 || a < 0 {
		return b != a
	}
	return before[b].APIVersion != after[a].APIVersion || !same(before[b].tree(), after[a].tree())
}

// dryRun rehearses the apply of the entry.
func (pl *planner) dryRun(ctx context.Context, e *Entry) (*unstructured.Unstructured, error) {
	pl.count.dryRun.Add(1)
	return pl.m.c.Send(ctx, Write{
		Verb: VerbApply, Resource: e.x.r, Namespace: e.ID.Namespace, Name: e.ID.Name, Object: e.x.sent,
		FieldManager: pl.m.o.Owner.FieldManager, Force: !pl.o.FailOnConflict, DryRun: true,
	})
}

var errWithheld = errors.New("the server's message is withheld")
