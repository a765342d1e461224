// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
)

type entryJSON struct {
	ID       ID       `json:"id"`
	Version  string   `json:"version"`
	Stage    int      `json:"stage"`
	Rank     int      `json:"rank"`
	Decision Decision `json:"decision"`
	Why      Why      `json:"why,omitempty"`
	Changes  []Change `json:"changes,omitempty"`
	Other    string   `json:"otherOwner,omitempty"`
	Error    string   `json:"error,omitempty"`
	Source   string   `json:"source,omitempty"`
}

func (e *Entry) json() entryJSON {
	j := entryJSON{ID: e.ID, Version: e.Version, Stage: e.Stage, Rank: e.Rank, Decision: e.Decision, Why: e.Why, Changes: e.Changes, Source: e.Source}
	if e.Other != nil {
		j.Other = e.Other.Namespace + "/" + e.Other.Name
	}
	if e.Err != nil {
		j.Error = oneLine(e.Err.Error())
	}
	return j
}

// MarshalJSON writes the entry with masked values and without live state.
func (e Entry) MarshalJSON() ([]byte, error) { return json.Marshal(e.json()) }

// MarshalJSON writes a stable form: entries in plan order, no timestamps.
func (p *Plan) MarshalJSON() ([]byte, error) {
	entries := make([]entryJSON, len(p.Entries))
	for i := range p.Entries {
		entries[i] = p.Entries[i].json()
	}
	return json.Marshal(struct {
		Digest  string      `json:"digest"`
		Entries []entryJSON `json:"entries"`
	}{p.Digest, entries})
}

// digest hashes the plan's content. How an unchanged object was found out is
// not part of it. What would be created enters as a whole, masked values only
// by key.
func (p *Plan) digest(key []byte) string {
	h := sha256.New()
	for i := range p.Entries {
		e := &p.Entries[i]
		j := e.json()
		if j.Decision == DecisionUnchanged {
			j.Why = ""
		}
		b, err := json.Marshal(j)
		if err != nil {
			continue // cannot happen: the values came from JSON
		}
		_, _ = h.Write(b)
		p.digestValues(h, e, key)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// digestValues adds what the JSON masks or leaves out.
func (p *Plan) digestValues(w io.Writer, e *Entry, key []byte) {
	if e.x == nil || e.x.desired == nil {
		return
	}
	if e.Decision == DecisionCreate || e.Decision == DecisionDeferred || e.Decision == DecisionRecreate {
		paths, whole := p.mask.paths(e.ID, e.x.desired)
		h := hider{paths: paths, whole: whole, with: func([]string) string { return "***" }}
		d := newHasher()
		d.value(h.value(e.x.desired.Object, nil))
		sum := d.sum()
		_, _ = w.Write(sum[:])
		if h.hit && len(key) > 0 {
			d := newHasher()
			d.value(e.x.desired.Object)
			sum := d.sum()
			mac := hmac.New(sha256.New, key)
			_, _ = mac.Write(sum[:])
			_, _ = w.Write(mac.Sum(nil))
		}
	}
	if len(key) == 0 {
		return
	}
	for _, c := range e.Changes {
		if c.raw == nil {
			continue
		}
		d := newHasher()
		values := c.raw()
		d.value(values[0])
		d.value(values[1])
		sum := d.sum()
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write(sum[:])
		_, _ = w.Write(mac.Sum(nil))
	}
}
