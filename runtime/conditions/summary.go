// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package conditions

import (
	"fmt"
	"slices"

	"github.com/gitops-kit/sdk/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SummaryOptions say what a summary is made of. The zero value summarises
// nothing.
type SummaryOptions struct {
	// From lists the condition types to look at, the most important first.
	From []string
	// Negative lists the types, among them possibly the target, for which True
	// is bad. Types not listed are positive.
	Negative []string
	// Fallback is the state of the target when none of From is present. With an
	// empty status the target is left alone then.
	Fallback metav1.Condition
	// SourceRef, when set, is appended to the message as " @ <SourceRef>". It has
	// the form "Kind/name".
	SourceRef string
	// Counter, when set, appends ", x of y <Counter>" to the message: x of the y
	// types of From are in their good state.
	Counter string
}

// group of a condition in a summary, the most important first.
const (
	negativeTrue = iota
	positiveFalse
	positiveTrue
	negativeFalse
	unknown
	groups
)

// Summarize sets the condition target from others. Of the groups negative and
// True, positive and False, positive and True, negative and False, Unknown,
// the first that has a member decides; within it the type listed first gives
// reason and message. The status is inverted when the polarities of the two
// conditions differ.
func Summarize(o Setter, target string, s SummaryOptions) {
	if o == nil {
		return
	}
	best, bestGroup, good := metav1.Condition{}, groups, 0
	for _, typ := range s.From {
		negative := slices.Contains(s.Negative, typ)
		c := Get(o, typ)
		if c == nil {
			if negative {
				good++
			}
			continue
		}
		g := groupOf(c.Status, negative)
		if g == positiveTrue || g == negativeFalse {
			good++
		}
		if g < bestGroup {
			best, bestGroup = *c, g
		}
	}
	if bestGroup == groups {
		if s.Fallback.Status == "" {
			return
		}
		best = s.Fallback
	} else if slices.Contains(s.Negative, best.Type) != slices.Contains(s.Negative, target) {
		best.Status = invert(best.Status)
	}
	best.Type = target
	if s.SourceRef != "" {
		best.Message += " @ " + s.SourceRef
	}
	if s.Counter != "" {
		best.Message += fmt.Sprintf(", %d of %d %s", good, len(s.From), s.Counter)
	}
	Set(o, best)
}

// MirrorOptions say how the Ready condition of another object is copied.
type MirrorOptions struct {
	// Type that is copied; "" is Ready.
	Type string
	// Fallback is the state of the target when the other object has no such
	// condition. With an empty status the target is removed then.
	Fallback metav1.Condition
}

// Mirror copies the Ready condition of from to the condition target of o.
func Mirror(o Setter, target string, from Getter, m MirrorOptions) {
	MirrorWorst(o, target, []Getter{from}, m)
}

// MirrorWorst copies the worst Ready condition among several objects: the
// first that is False, else the first that is True, else the first Unknown or
// absent one. Absent counts as the fallback.
func MirrorWorst(o Setter, target string, from []Getter, m MirrorOptions) {
	if o == nil {
		return
	}
	typ := m.Type
	if typ == "" {
		typ = meta.ReadyCondition
	}
	var best *metav1.Condition
	for _, f := range from {
		c := Get(f, typ)
		if c == nil {
			if m.Fallback.Status == "" {
				continue
			}
			fallback := m.Fallback
			c = &fallback
		}
		if best == nil || groupOf(c.Status, false) < groupOf(best.Status, false) {
			best = c
		}
	}
	if best == nil {
		Delete(o, target)
		return
	}
	best.Type = target
	Set(o, *best)
}

func groupOf(s metav1.ConditionStatus, negative bool) int {
	switch {
	case s == metav1.ConditionTrue && negative:
		return negativeTrue
	case s == metav1.ConditionFalse && !negative:
		return positiveFalse
	case s == metav1.ConditionTrue:
		return positiveTrue
	case s == metav1.ConditionFalse:
		return negativeFalse
	}
	return unknown
}

func invert(s metav1.ConditionStatus) metav1.ConditionStatus {
	switch s {
	case metav1.ConditionTrue:
		return metav1.ConditionFalse
	case metav1.ConditionFalse:
		return metav1.ConditionTrue
	default:
		return s
	}
}
