// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"encoding/json"
	"strings"

	"github.com/gitops-kit/sdk/ssa/inventory"
)

// Action says what happened to an object.
type Action string

// The actions.
const (
	ActionCreated      Action = "created"
	ActionConfigured   Action = "configured"
	ActionUnchanged    Action = "unchanged"
	ActionDeleted      Action = "deleted" // the server accepted the deletion
	ActionSkipped      Action = "skipped"
	ActionFailed       Action = "failed"
	ActionUnknown      Action = "unknown" // a write was sent and its reply did not arrive
	ActionNotAttempted Action = "notAttempted"
)

// Outcome is what happened to one object.
type Outcome struct {
	ID              ID
	Version         string
	UID             string
	ResourceVersion string
	Action          Action
	Why             Why
	// Err says why Action is failed, unknown or, where there is a reason,
	// notAttempted.
	Err     error
	Changes []Change

	exists   bool // the object exists, or may
	holds    bool // it must not go together with what contains it
	changed  bool // created or configured in this run
	blocked  bool
	vanishes bool              // a Job that removes itself
	isStatus bool              // its kind has a status subresource
	writers  map[string]string // by path of a change: who wrote it last
}

// String returns "<kind>/<namespace>/<name> <action>".
func (o Outcome) String() string { return o.ID.Display() + " " + string(o.Action) }

// MarshalJSON writes the outcome with masked values.
func (o Outcome) MarshalJSON() ([]byte, error) {
	j := struct {
		ID      ID       `json:"id"`
		Version string   `json:"version,omitempty"`
		UID     string   `json:"uid,omitempty"`
		Action  Action   `json:"action"`
		Why     Why      `json:"why,omitempty"`
		Error   string   `json:"error,omitempty"`
		Changes []Change `json:"changes,omitempty"`
	}{o.ID, o.Version, o.UID, o.Action, o.Why, "", o.Changes}
	if o.Err != nil {
		j.Error = oneLine(o.Err.Error())
	}
	return json.Marshal(j)
}

// Result is what an apply or a deletion did. It is complete also when an
// error is returned: one outcome per object, in plan order.
type Result struct {
	Outcomes []Outcome
	Requests Requests
	// Stopped says where and why the run ended early; "" when it did not.
	Stopped string
}

// String lists the outcomes, one per line.
func (r *Result) String() string {
	var b strings.Builder
	for i := range r.Outcomes {
		b.WriteString(r.Outcomes[i].String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Inventory returns the objects of the run that exist or may exist.
func (r *Result) Inventory() inventory.Set {
	var s inventory.Set
	for i := range r.Outcomes {
		if o := &r.Outcomes[i]; o.exists {
			s.Add(inventory.Item{ID: o.ID, Version: o.Version, UID: o.UID})
		}
	}
	return s
}

// Complete reports whether every object was applied or left alone on purpose.
func (r *Result) Complete() bool {
	for i := range r.Outcomes {
		switch r.Outcomes[i].Action {
		case ActionFailed, ActionUnknown, ActionNotAttempted, "":
			return false
		case ActionCreated, ActionConfigured, ActionUnchanged, ActionDeleted, ActionSkipped:
		}
	}
	return true
}

// Targets returns what to wait for: all that was applied or found unchanged.
func (r *Result) Targets() []Target {
	var out []Target
	for i := range r.Outcomes {
		switch o := &r.Outcomes[i]; o.Action {
		case ActionCreated, ActionConfigured, ActionUnchanged:
			out = append(out, Target{ID: o.ID, Version: o.Version, UID: o.UID, Changed: o.changed, vanishes: o.vanishes})
		case ActionDeleted, ActionSkipped, ActionFailed, ActionUnknown, ActionNotAttempted:
		}
	}
	return out
}

// Outcome returns the outcome of one object.
func (r *Result) Outcome(id ID) (Outcome, bool) {
	for i := range r.Outcomes {
		if r.Outcomes[i].ID == id {
			return r.Outcomes[i], true
		}
	}
	return Outcome{}, false
}

// Count returns the number of outcomes with the action.
func (r *Result) Count(a Action) int {
	n := 0
	for i := range r.Outcomes {
		if r.Outcomes[i].Action == a {
			n++
		}
	}
	return n
}

// Kept is a set as it is now, for which a prune is planned: a *Plan for a
// preview, a *Result for the real thing.
type Kept interface {
	// Inventory returns the objects that stay.
	Inventory() inventory.Set
	// Complete is false when something was not decided or not applied.
	Complete() bool
}

var _ Kept = (*Result)(nil)
