// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package check_test

import (
	"slices"
	"testing"

	"github.com/gitops-kit/sdk/runtime/conditions/check"
	"github.com/gitops-kit/sdk/runtime/internal/testapi"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type cond = metav1.Condition

const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown

// RT-14, COND-6: each rule alone.
func TestRules(t *testing.T) {
	c := func(typ string, s metav1.ConditionStatus, generation int64) cond {
		return cond{Type: typ, Status: s, Reason: "R", ObservedGeneration: generation}
	}
	cases := map[string]struct {
		rule     string
		observed int64
		list     []cond
		warning  bool
	}{
		"Fresh":            {observed: -1},
		"Current":          {observed: 2, list: []cond{c("Ready", yes, 2)}},
		"Running":          {observed: 1, list: []cond{c("Reconciling", yes, 2), c("Ready", unknown, 2)}},
		"Failed":           {observed: 1, list: []cond{c("Reconciling", yes, 2), c("Ready", no, 2), c("FetchFailed", yes, 2)}},
		"Stalled":          {observed: 2, list: []cond{c("Stalled", yes, 2), c("Ready", no, 2)}},
		"NoReady":          {rule: "a", observed: 1},
		"BothTrue":         {rule: "b", observed: 2, list: []cond{c("Reconciling", yes, 2), c("Ready", yes, 2)}},
		"StalledNotFalse":  {rule: "c", observed: 2, list: []cond{c("Stalled", yes, 2), c("Ready", yes, 2)}},
		"StalledRunning":   {rule: "d", observed: 1, list: []cond{c("Stalled", yes, 2), c("Reconciling", yes, 2), c("Ready", no, 2)}},
		"NegativeAndReady": {rule: "e", observed: 2, list: []cond{c("Ready", yes, 2), c("FetchFailed", yes, 2)}},
		"RootAhead":        {rule: "f", observed: 3, list: []cond{c("Ready", no, 2), c("Reconciling", yes, 2)}},
		"ConditionAhead":   {rule: "f", observed: 1, list: []cond{c("Ready", no, 3), c("Reconciling", yes, 2)}},
		"ReadyStaleRoot":   {rule: "g", observed: 1, list: []cond{c("Ready", yes, 2)}},
		"ReadyStale":       {rule: "g", observed: 2, list: []cond{c("Ready", yes, 1)}},
		"UnknownIdle":      {rule: "h", observed: 1, list: []cond{c("Ready", unknown, 2)}},
		"NegativeFalse":    {rule: "i", observed: 1, list: []cond{c("Ready", no, 2), c("Reconciling", no, 2)}},
		"BadReason":        {rule: "reason", warning: true, observed: 1, list: []cond{{Type: "Ready", Status: no, Reason: "not ok", ObservedGeneration: 2}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := &testapi.App{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
			o.Status.ObservedGeneration, o.Status.Conditions = tc.observed, tc.list
			found := check.Object(o)
			if tc.rule == "" {
				g.Expect(check.Errors(found)).To(BeEmpty())
				return
			}
			g.Expect(slices.ContainsFunc(found, func(f check.Finding) bool {
				return f.Rule == tc.rule && (f.Severity == check.Warning) == tc.warning
			})).To(BeTrue(), "%v", found)
		})
	}
	NewWithT(t).Expect(check.Object(nil)).To(BeEmpty())
	NewWithT(t).Expect(check.Object((*testapi.App)(nil))).To(BeEmpty())
}
