// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Severity of a finding.
type Severity string

// Severities.
const (
	// Error breaks a rule.
	Error Severity = "error"
	// Warning is unusual.
	Warning Severity = "warning"
)

// Finding is one violation.
type Finding struct {
	// Rule is a letter from a to i, or a word for a warning.
	Rule string
	// Severity is Error or Warning.
	Severity Severity
	// Text explains the finding.
	Text string
}

// String returns rule, severity and text.
func (f Finding) String() string { return fmt.Sprintf("%s (%s): %s", f.Rule, f.Severity, f.Text) }

// Negative returns the condition types that are negative in every kind: they
// are present only while True.
func Negative() []string {
	return []string{
		meta.ReconcilingCondition, meta.StalledCondition, "ArtifactOutdated", "FetchFailed", "BuildFailed",
		"StorageOperationFailed", "IncludeUnavailable", "AccessDenied",
	}
}

// Options tell what the object's kind has beside the standard types.
type Options struct {
	// Negative lists further condition types for which True is bad.
	Negative []string
}

// observer is an object with a root observedGeneration.
type observer interface{ ObservedGeneration() *int64 }

// Object returns the findings about o, errors first.
func Object(o conditions.Getter) []Finding { return ObjectWith(o, Options{}) }

// ObjectWith is [Object] for a kind with further negative conditions.
func ObjectWith(o conditions.Getter, opt Options) []Finding {
	if o == nil || reflect.ValueOf(o).Kind() == reflect.Pointer && reflect.ValueOf(o).IsNil() {
		return nil
	}
	c := &checker{o: o, negative: append(Negative(), opt.Negative...), ready: conditions.Get(o, meta.ReadyCondition)}
	if obs, ok := o.(observer); ok {
		if p := obs.ObservedGeneration(); p != nil {
			c.observed = *p
			c.hasObserved = true
		}
	}
	c.rules()
	c.warnings()
	slices.SortStableFunc(c.found, func(a, b Finding) int {
		if a.Severity == b.Severity {
			return 0
		}
		if a.Severity == Error {
			return -1
		}
		return 1
	})
	return c.found
}

// Errors returns only the findings of severity Error.
func Errors(found []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return f.Severity != Error })
}

type checker struct {
	o           conditions.Getter
	negative    []string
	ready       *metav1.Condition
	observed    int64
	hasObserved bool
	found       []Finding
}

func (c *checker) err(rule, format string, a ...any) {
	c.found = append(c.found, Finding{Rule: rule, Severity: Error, Text: fmt.Sprintf(format, a...)})
}

func (c *checker) warn(rule, format string, a ...any) {
	c.found = append(c.found, Finding{Rule: rule, Severity: Warning, Text: fmt.Sprintf(format, a...)})
}

func (c *checker) rules() {
	ready := metav1.ConditionStatus("")
	if c.ready != nil {
		ready = c.ready.Status
	}
	reconciling, stalled := conditions.IsTrue(c.o, meta.ReconcilingCondition), conditions.IsTrue(c.o, meta.StalledCondition)
	if c.ready == nil && c.hasObserved && c.observed >= 1 {
		c.err("a", "observedGeneration is %d and there is no Ready condition", c.observed)
	}
	if reconciling && ready == metav1.ConditionTrue {
		c.err("b", "Reconciling and Ready are both True")
	}
	if stalled && ready != metav1.ConditionFalse {
		c.err("c", "Stalled is True and Ready is %q", ready)
	}
	if reconciling && stalled {
		c.err("d", "Reconciling and Stalled are both True")
	}
	generation := c.o.GetGeneration()
	if c.hasObserved && c.observed > generation {
		c.err("f", "observedGeneration %d is ahead of generation %d", c.observed, generation)
	}
	for _, cond := range c.o.GetConditions() {
		if cond.ObservedGeneration > generation {
			c.err("f", "observedGeneration %d of %s is ahead of generation %d", cond.ObservedGeneration, cond.Type, generation)
		}
		if !slices.Contains(c.negative, cond.Type) {
			continue
		}
		if cond.Status == metav1.ConditionTrue && ready == metav1.ConditionTrue && cond.Type != meta.ReconcilingCondition {
			c.err("e", "%s and Ready are both True", cond.Type)
		}
		if cond.Status == metav1.ConditionFalse {
			c.err("i", "negative condition %s is False instead of absent", cond.Type)
		}
	}
	if ready == metav1.ConditionTrue {
		if c.hasObserved && c.observed != generation {
			c.err("g", "Ready is True for observedGeneration %d of generation %d", c.observed, generation)
		}
		if c.ready.ObservedGeneration != generation {
			c.err("g", "Ready is True with its own observedGeneration %d of generation %d", c.ready.ObservedGeneration, generation)
		}
	}
	if ready == metav1.ConditionUnknown && !reconciling {
		c.err("h", "Ready is Unknown and Reconciling is not True")
	}
}

func (c *checker) warnings() {
	if !c.hasObserved {
		c.warn("observedGeneration", "the kind has no root observedGeneration")
	}
	var highest *metav1.Condition
	for i, cond := range c.o.GetConditions() {
		if !conditions.ValidReason(cond.Reason) {
			c.warn("reason", "%s has the invalid reason %q", cond.Type, cond.Reason)
		}
		if slices.Contains(c.negative, cond.Type) && cond.Type != meta.ReconcilingCondition && cond.Status != metav1.ConditionTrue &&
			c.ready != nil && c.ready.Status == metav1.ConditionTrue {
			c.warn("negative", "%s is present while Ready is True", cond.Type)
		}
		if highest == nil && slices.Contains(c.negative, cond.Type) && cond.Status == metav1.ConditionTrue &&
			cond.Type != meta.ReconcilingCondition {
			highest = &c.o.GetConditions()[i]
		}
	}
	if highest != nil && c.ready != nil && c.ready.Status == metav1.ConditionFalse && !c.reflects() {
		c.warn("ready", "Ready has reason %q, which no negative condition has", c.ready.Reason)
	}
}

// reflects reports whether Ready carries the reason of some negative condition.
func (c *checker) reflects() bool {
	for _, cond := range c.o.GetConditions() {
		if slices.Contains(c.negative, cond.Type) && cond.Status == metav1.ConditionTrue && cond.Reason == c.ready.Reason {
			return true
		}
	}
	return false
}
