// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// engineVersion changes when the proof changes: the first plan of another
	// version verifies everything.
	engineVersion       = "1"
	defaultVerifyEvery  = 10
	defaultVerifyMaxAge = 12 * time.Hour
)

// Token stands for the configuration that decides what a server makes of an
// object: equal tokens, equal behaviour.
type Token struct {
	Schema    string    // of the kind
	Admission string    // of the webhooks and policies that may change it
	Changed   time.Time // when any of these was changed last
}

// Environment knows the configuration that affects objects. [WatchEnvironment]
// returns one. Implementations must be safe for concurrent use.
type Environment interface {
	// Token returns the token of a resource; an empty one when it is unknown.
	Token(ctx context.Context, gvr schema.GroupVersionResource) (Token, error)
}

// Verification is what a plan learned about the trust in proofs. Hand the one
// of the last plan to the next. The zero value is that of a process's first
// plan.
type Verification struct {
	Pass    int       // plans since the last one that asked about every object
	At      time.Time // when that was
	Tokens  map[schema.GroupVersionResource]Token
	Version string // of the engine
	Blind   bool   // a token is unknown: only the number and age of plans bound the trust
	// Unsettled are the objects that were to be asked about and were not found
	// unchanged: blocked, left alone, or to be updated, which a caller may not
	// do. The next plan asks about them again.
	Unsettled map[ID]bool
}

// maxUnsettled bounds Verification.Unsettled. With more, the whole
// verification counts as not done.
const maxUnsettled = 1000

// verifier decides which objects the server is asked about although they
// could be proved.
type verifier struct {
	full   bool
	first  bool
	before Verification
	o      PlanOptions
	every  int
	phase  int
	env    Environment
	ctx    func(schema.GroupVersionResource) (Token, error)

	tokens *tokens
}

type tokens struct {
	mu    sync.Mutex
	known map[schema.GroupVersionResource]Token
	blind bool
}

func (m *Manager) verifier(ctx context.Context, o PlanOptions, _ *Plan) verifier {
	v := verifier{o: o, before: o.Verified, env: m.o.Env, every: o.VerifyEvery, tokens: &tokens{known: map[schema.GroupVersionResource]Token{}}}
	if v.every == 0 {
		v.every = defaultVerifyEvery
	}
	if v.env != nil {
		v.ctx = func(gvr schema.GroupVersionResource) (Token, error) { return v.env.Token(ctx, gvr) }
	}
	v.first = v.before.Version == ""
	age := o.VerifyMaxAge
	if age <= 0 {
		age = defaultVerifyMaxAge
	}
	age = age/10*9 + age/5000*time.Duration(m.seed()%1000) // ± 10 %
	switch {
	case v.every == 1:
		v.full = true
	case v.first:
		v.phase = rand.IntN(v.every-1) + 1 //nolint:gosec // spreads load, no secret
	default:
		v.full = v.before.Version != engineVersion || v.before.Pass+1 >= v.every || time.Since(v.before.At) > age
	}
	return v
}

// seed spreads the managers of a process.
func (m *Manager) seed() uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(m.o.Owner.Namespace + "/" + m.o.Owner.Name))
	return h.Sum64()
}

// token returns the resource's token, asking the environment once per plan.
func (v *verifier) token(gvr schema.GroupVersionResource) Token {
	v.tokens.mu.Lock()
	defer v.tokens.mu.Unlock()
	if t, ok := v.tokens.known[gvr]; ok {
		return t
	}
	var t Token
	if v.ctx != nil {
		var err error
		if t, err = v.ctx(gvr); err != nil {
			t = Token{}
		}
	}
	if t.Schema == "" || t.Admission == "" {
		v.tokens.blind = true
	}
	v.tokens.known[gvr] = t
	return t
}

// due returns why the entry must be verified, or "".
func (v *verifier) due(e *Entry) string {
	if v.full || v.o.Verify != nil && v.o.Verify(e.ID) {
		return "Due"
	}
	if v.changed(e.x.r.GVR) {
		return "Token"
	}
	if v.before.Unsettled[e.ID] {
		return "Due"
	}
	return ""
}

// changed reports whether the token is another than that of the last plan.
func (v *verifier) changed(gvr schema.GroupVersionResource) bool {
	t := v.token(gvr)
	before, ok := v.before.Tokens[gvr]
	return ok && (before.Schema != t.Schema || before.Admission != t.Admission)
}

// unsettled reports whether the entry was to be asked about, and a later plan
// could take for unchanged what this one did not find so.
func (v *verifier) unsettled(e *Entry) bool {
	switch {
	case e.Decision == DecisionUnchanged, !e.x.existed && e.Decision != DecisionBlocked:
		return false
	case e.Unproved == "Due", e.Unproved == "Token", v.full, v.before.Unsettled[e.ID]:
		return true
	case e.x.r.GVR.Resource == "":
		return false // a kind that is resolved again later is new to the set
	}
	_, known := v.before.Tokens[e.x.r.GVR]
	if v.first || !known {
		return e.Decision == DecisionBlocked && !v.token(e.x.r.GVR).Changed.IsZero()
	}
	return v.changed(e.x.r.GVR)
}

// changedSince reports whether, in a process's first plan or for a kind that
// is new to the set, the configuration is younger than our last apply.
func (v *verifier) changedSince(e *Entry, applied string) bool {
	gvr := e.x.r.GVR
	if _, known := v.before.Tokens[gvr]; known && !v.first {
		return false
	}
	t := v.token(gvr)
	if t.Changed.IsZero() {
		return false
	}
	at, err := time.Parse(time.RFC3339, applied)
	return err != nil || !at.After(t.Changed)
}

// done returns the Verification for the next plan.
func (v *verifier) done(p *Plan) Verification {
	for i := range p.Entries {
		if x := p.Entries[i].x; x != nil && x.r.GVR.Resource != "" {
			v.token(x.r.GVR)
		}
	}
	out := Verification{Pass: v.before.Pass + 1, At: v.before.At, Tokens: v.tokens.known, Version: engineVersion, Blind: v.tokens.blind}
	switch {
	case v.full:
		out.Pass, out.At = 0, time.Now()
	case v.first:
		out.Pass, out.At = v.phase, time.Now()
	}
	for i := range p.Entries {
		e := &p.Entries[i]
		if e.x == nil || !v.unsettled(e) {
			continue
		}
		if len(out.Unsettled) == maxUnsettled {
			v.undo(&out)
			break
		}
		if out.Unsettled == nil {
			out.Unsettled = map[ID]bool{}
		}
		out.Unsettled[e.ID] = true
	}
	return out
}

// undo makes the next plan verify again all that this one was to.
func (v *verifier) undo(out *Verification) {
	if v.full || v.first {
		out.Pass, out.At, out.Version = v.before.Pass, v.before.At, v.before.Version
	}
	out.Tokens = maps.Clone(v.before.Tokens)
}
