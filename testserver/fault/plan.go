// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/testserver/record"
)

// Match selects requests; see [record.Match].
type Match = record.Match

// Plan is one fault. The zero value matches every request and does nothing to
// it, which is useful as a first plan that protects requests from later ones.
type Plan struct {
	// Match selects the requests this plan is for. Zero: all.
	Match Match

	// Nth applies the plan to the n-th selected request only, from 1. 0: no such rule.
	Nth int
	// Every applies the plan to each n-th selected request. 0: no such rule.
	Every int
	// Ratio applies the plan to this share of the selected requests, 0 to 1.
	// 0: no such rule.
	Ratio float64
	// Seed starts the generator of Ratio.
	Seed uint64
	// Times ends the plan after it was applied this often. 0: never.
	Times int

	// Delay passes before the request is handled.
	Delay time.Duration
	// Throttle limits the reply to this many body bytes a second. 0: no limit.
	Throttle int64
	// Stall sends the body bytes before this position and then nothing more
	// until the client leaves or the server stops.
	Stall int64
	// CutAfter sends this many body bytes and then ends the connection, over
	// TLS without a closing alert.
	CutAfter int64
	// RST makes CutAfter and Drop end the connection with a reset. Alone it
	// resets the connection before the request is handled.
	RST bool
	// FlipAt inverts the bits of the body byte at this position.
	FlipAt int64
	// Extra appends this many bytes "x" to the body; a declared length counts them.
	Extra int64

	// Status answers with this status without handling the request.
	Status int
	// RetryAfter adds the header of that name, in whole seconds.
	RetryAfter time.Duration
	// WrongDigest makes the digest headers of the reply wrong; if it has none,
	// inverts the first body byte.
	WrongDigest bool
	// WrongLength is added to the declared length; the body stays as it is.
	WrongLength int64
	// Redirect answers with a redirect to this URL, in which "{path}" stands
	// for the request's path and query. Status, if it is a 3xx, is used; else 307.
	Redirect string
	// Encoding compresses the body if it is "gzip", asked for or not; any other
	// value is only claimed in the Content-Encoding header.
	Encoding string
	// Drop handles the request and then ends the connection without a reply.
	Drop bool
}

// String names the faults of p, not its selection.
func (p Plan) String() string {
	var s []string
	add := func(on bool, f string, a ...any) {
		if on {
			s = append(s, fmt.Sprintf(f, a...))
		}
	}
	add(p.Delay > 0, "delay=%s", p.Delay)
	add(p.Throttle > 0, "throttle=%d", p.Throttle)
	add(p.Stall > 0, "stall=%d", p.Stall)
	add(p.CutAfter > 0, "cut=%d", p.CutAfter)
	add(p.RST, "rst")
	add(p.FlipAt > 0, "flip=%d", p.FlipAt)
	add(p.Extra > 0, "extra=%d", p.Extra)
	add(p.Status > 0, "status=%d", p.Status)
	add(p.RetryAfter > 0, "retry-after=%s", p.RetryAfter)
	add(p.WrongDigest, "wrong-digest")
	add(p.WrongLength != 0, "wrong-length=%d", p.WrongLength)
	add(p.Redirect != "", "redirect")
	add(p.Encoding != "", "encoding=%s", p.Encoding)
	add(p.Drop, "drop")
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, ",")
}

// Set is the list of plans of one server, with their counters. The zero value
// has no plan.
type Set struct {
	mu    sync.Mutex
	plans []*counted
}

type counted struct {
	Plan
	seen, applied int
	rng           *rand.Rand
}

// Set replaces all plans; counters start at zero.
func (s *Set) Set(plans ...Plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plans = make([]*counted, len(plans))
	for i, p := range plans {
		s.plans[i] = &counted{Plan: p, rng: rand.New(rand.NewPCG(p.Seed, 0x9e3779b97f4a7c15))}
	}
}

// Pick returns the plan for a request, nil if none matches, and counts it. All
// plans that select the request count it, also those behind the one returned.
func (s *Set) Pick(method, path, route string) *Plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *Plan
	for _, c := range s.plans {
		if c.Match.Match(method, path, route) && c.due() && found == nil && (c.Times <= 0 || c.applied < c.Times) {
			c.applied++
			p := c.Plan
			found = &p
		}
	}
	return found
}

// due counts one selected request and says whether the plan applies to it.
func (c *counted) due() bool {
	c.seen++
	if c.Nth > 0 && c.seen != c.Nth {
		return false
	}
	if c.Every > 0 && c.seen%c.Every != 0 {
		return false
	}
	return c.Ratio <= 0 || c.rng.Float64() < c.Ratio
}
