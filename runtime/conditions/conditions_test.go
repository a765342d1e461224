// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package conditions_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/conditions/check"
	"github.com/gitops-kit/sdk/runtime/internal/testapi"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func app(generation int64) *testapi.App {
	return &testapi.App{ObjectMeta: metav1.ObjectMeta{Generation: generation}}
}

func types(o conditions.Getter) (out []string) {
	for _, c := range o.GetConditions() {
		out = append(out, c.Type)
	}
	return out
}

// RT-10, COND-2, COND-3, COND-4
func TestSet(t *testing.T) {
	g := NewWithT(t)
	o := app(1)
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 999, time.FixedZone("x", 3600))
	set := func(typ, reason, message string, at time.Time) {
		conditions.SetAt(o, metav1.Condition{Type: typ, Status: metav1.ConditionTrue, Reason: reason, Message: message}, at)
	}
	set("Ready", "R", "m", t0)
	first := conditions.Get(o, "Ready").LastTransitionTime
	g.Expect(first.Time).To(Equal(t0.UTC().Truncate(time.Second)))
	o.Generation = 2
	set("Ready", "R", "m", t0.Add(time.Hour))
	g.Expect(conditions.Get(o, "Ready").LastTransitionTime).To(Equal(first), "an equal state keeps its time, whatever the generation")
	g.Expect(conditions.Get(o, "Ready").ObservedGeneration).To(Equal(int64(2)))
	set("Ready", "R", "other", t0.Add(time.Hour))
	g.Expect(conditions.Get(o, "Ready").LastTransitionTime).NotTo(Equal(first), "a new message is a transition")
	o.Generation = 1
	set("B", "R", "", t0)
	o.Generation = 2
	set("Z", "R", "", t0)
	set("A", "R", "", t0)
	set("Stalled", "R", "", t0)
	set("Reconciling", "R", "", t0)
	g.Expect(types(o)).To(Equal([]string{"Stalled", "Reconciling", "Ready", "A", "Z", "B"}))
	conditions.Delete(o, "Stalled", "Reconciling", "absent")
	g.Expect(types(o)).To(Equal([]string{"Ready", "A", "Z", "B"}))
	set("X", "not a reason", "", t0)
	g.Expect(conditions.Reason(o, "X")).To(Equal(meta.FailedReason))
	conditions.Set(nil, metav1.Condition{Type: "Ready"})
	g.Expect(conditions.Get(nil, "Ready")).To(BeNil())
	g.Expect(conditions.IsUnknown(o, "absent")).To(BeTrue())
}

// COND-2: cut at a rune, escapes.
func TestMessages(t *testing.T) {
	g := NewWithT(t)
	o := app(1)
	conditions.MarkTrue(o, "Ready", "R", "%s", "a\x00\u202e\tb\nc\xff"+strings.Repeat("ü", 20000))
	m := conditions.Message(o, "Ready")
	g.Expect(m).To(HavePrefix("a\\u0000\\u202e\tb\nc\\xffü"))
	g.Expect(m).To(HaveSuffix("ü..."))
	g.Expect(len(m)).To(BeNumerically("<=", meta.MaxConditionMessage))
	g.Expect(utf8.ValidString(m)).To(BeTrue())
}

// RT-11
func TestReconcilingAndStalledExclude(t *testing.T) {
	g := NewWithT(t)
	o := app(1)
	conditions.MarkTrue(o, "Ready", "R", "")
	g.Expect(conditions.IsReady(o)).To(BeTrue())
	conditions.MarkStalled(o, "R", "")
	g.Expect(conditions.IsReady(o)).To(BeFalse())
	g.Expect(conditions.IsStalled(o)).To(BeTrue())
	conditions.MarkReconciling(o, "R", "")
	g.Expect(types(o)).To(Equal([]string{"Reconciling", "Ready"}))
	g.Expect(conditions.IsReconciling(o)).To(BeTrue())
	conditions.MarkStalled(o, "R", "")
	g.Expect(types(o)).To(Equal([]string{"Stalled", "Ready"}))
}

// RT-12, COND-8
func TestSummarize(t *testing.T) {
	type cond struct {
		typ string
		st  metav1.ConditionStatus
	}
	const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	neg := []string{"Neg", "Neg2"}
	cases := map[string]struct {
		reason  string
		have    []cond
		options conditions.SummaryOptions
		want    *cond
		message string
	}{
		"NegativeTrueFirst": {reason: "bad news beats all", have: []cond{{"Pos", no}, {"Neg", yes}}, options: conditions.SummaryOptions{From: []string{"Pos", "Neg"}, Negative: neg}, want: &cond{"Neg", no}},
		"ListOrder":         {reason: "the first listed wins", have: []cond{{"Neg2", yes}, {"Neg", yes}}, options: conditions.SummaryOptions{From: []string{"Neg2", "Neg"}, Negative: neg}, want: &cond{"Neg2", no}},
		"PositiveFalse":     {reason: "then what is not yet good", have: []cond{{"Pos", no}, {"Pos2", yes}}, options: conditions.SummaryOptions{From: []string{"Pos2", "Pos"}}, want: &cond{"Pos", no}},
		"PositiveTrue":      {reason: "then good news", have: []cond{{"Pos", yes}, {"Neg", no}}, options: conditions.SummaryOptions{From: []string{"Neg", "Pos"}, Negative: neg}, want: &cond{"Pos", yes}},
		"NegativeFalse":     {reason: "no bad news is good", have: []cond{{"Neg", no}, {"Pos", unknown}}, options: conditions.SummaryOptions{From: []string{"Neg", "Pos"}, Negative: neg}, want: &cond{"Neg", yes}},
		"Unknown":           {reason: "nothing better known", have: []cond{{"Pos", unknown}}, options: conditions.SummaryOptions{From: []string{"Pos"}}, want: &cond{"Pos", unknown}},
		"Fallback":          {reason: "none present", options: conditions.SummaryOptions{From: []string{"Pos"}, Fallback: metav1.Condition{Status: unknown, Reason: "F", Message: "f"}}, want: &cond{"F", unknown}, message: "f"},
		"None":              {reason: "none present, no fallback", options: conditions.SummaryOptions{From: []string{"Pos"}}},
		"Extras":            {reason: "source and counter", have: []cond{{"Pos", yes}, {"Neg", yes}}, options: conditions.SummaryOptions{From: []string{"Pos", "Neg", "Neg2"}, Negative: neg, SourceRef: "App/x", Counter: "done"}, want: &cond{"Neg", no}, message: "m @ App/x, 2 of 3 done"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := app(1)
			for _, c := range tc.have {
				conditions.Set(o, metav1.Condition{Type: c.typ, Status: c.st, Reason: c.typ, Message: "m"})
			}
			conditions.Summarize(o, "Ready", tc.options)
			got := conditions.Get(o, "Ready")
			if tc.want == nil {
				g.Expect(got).To(BeNil(), tc.reason)
				return
			}
			g.Expect(got).NotTo(BeNil(), tc.reason)
			g.Expect(cond{got.Reason, got.Status}).To(Equal(*tc.want), tc.reason)
			if tc.message != "" {
				g.Expect(got.Message).To(Equal(tc.message), tc.reason)
			}
		})
	}
}

// RT-12
func TestMirror(t *testing.T) {
	g := NewWithT(t)
	good, bad, none := app(1), app(1), app(1)
	conditions.MarkTrue(good, "Ready", "Good", "g")
	conditions.MarkFalse(bad, "Ready", "Bad", "b")
	o := app(7)
	conditions.Mirror(o, "SourceReady", good, conditions.MirrorOptions{})
	g.Expect(conditions.IsTrue(o, "SourceReady")).To(BeTrue())
	g.Expect(conditions.Get(o, "SourceReady").ObservedGeneration).To(Equal(int64(7)))
	conditions.MirrorWorst(o, "SourceReady", []conditions.Getter{good, bad, none}, conditions.MirrorOptions{})
	g.Expect(conditions.Reason(o, "SourceReady")).To(Equal("Bad"))
	conditions.Mirror(o, "SourceReady", none, conditions.MirrorOptions{})
	g.Expect(conditions.Has(o, "SourceReady")).To(BeFalse())
	conditions.Mirror(o, "SourceReady", none, conditions.MirrorOptions{Fallback: metav1.Condition{Status: metav1.ConditionUnknown, Reason: "Wait"}})
	g.Expect(conditions.Reason(o, "SourceReady")).To(Equal("Wait"))
}

// RT-13
func TestMerge(t *testing.T) {
	c := func(reason string) []metav1.Condition {
		if reason == "" {
			return nil
		}
		return []metav1.Condition{{Type: "T", Status: metav1.ConditionTrue, Reason: reason}}
	}
	cases := map[string]struct {
		reason             string
		base, ours, theirs string
		owned              bool
		want               string
		op                 string
	}{
		"OnlyOurs":     {reason: "taken", base: "a", ours: "b", theirs: "a", want: "b"},
		"OnlyTheirs":   {reason: "taken", base: "a", ours: "a", theirs: "b", want: "b"},
		"Both":         {reason: "conflict", base: "a", ours: "b", theirs: "c", op: "set"},
		"BothOwned":    {reason: "ours when owned", base: "a", ours: "b", theirs: "c", owned: true, want: "b"},
		"BothSame":     {reason: "agreement", base: "a", ours: "b", theirs: "b", want: "b"},
		"Removed":      {reason: "a removal is a change", base: "a", ours: "", theirs: "a", want: ""},
		"RemovedBoth":  {reason: "agreement", base: "a", ours: "", theirs: "", want: ""},
		"RemoveChange": {reason: "removal against change", base: "a", ours: "", theirs: "b", op: "delete"},
		"RemoveOwned":  {reason: "owned removal", base: "a", ours: "", theirs: "b", owned: true, want: ""},
		"ChangeRemove": {reason: "change against removal", base: "a", ours: "b", theirs: "", op: "set"},
		"Added":        {reason: "new", base: "", ours: "b", theirs: "", want: "b"},
		"AddedBoth":    {reason: "new on both sides, different", base: "", ours: "b", theirs: "c", op: "set"},
		"TheirsNew":    {reason: "theirs stays", base: "", ours: "", theirs: "c", want: "c"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var owned []string
			if tc.owned {
				owned = []string{"T"}
			}
			got, err := conditions.Merge(c(tc.base), c(tc.ours), c(tc.theirs), owned)
			if tc.op != "" {
				var ce *conditions.ConflictError
				g.Expect(errors.As(err, &ce)).To(BeTrue(), tc.reason)
				g.Expect(cmp.Diff(&conditions.ConflictError{Type: "T", Op: tc.op}, ce)).To(BeEmpty(), tc.reason)
				g.Expect(ce.Terminal()).To(BeFalse())
				return
			}
			g.Expect(err).NotTo(HaveOccurred(), tc.reason)
			g.Expect(len(got)).To(Equal(len(c(tc.want))), tc.reason)
			if tc.want != "" {
				g.Expect(got[0].Reason).To(Equal(tc.want), tc.reason)
			}
		})
	}
}

// RT-16
func TestUnstructured(t *testing.T) {
	g := NewWithT(t)
	for _, bad := range []any{"text", []any{"x"}, []any{map[string]any{"type": 7}}, map[string]any{}} {
		_, err := conditions.Unstructured(&unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": bad}}})
		g.Expect(errors.As(err, new(*conditions.ConditionsError))).To(BeTrue())
	}
	_, err := conditions.Unstructured(&unstructured.Unstructured{Object: map[string]any{"status": "x"}})
	g.Expect(errors.As(err, new(*conditions.ConditionsError))).To(BeTrue())
	u := &unstructured.Unstructured{}
	o, err := conditions.Unstructured(u)
	g.Expect(err).NotTo(HaveOccurred())
	conditions.MarkTrue(o, "Ready", "R", "m")
	again, err := conditions.Unstructured(u.DeepCopy())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again.GetConditions()).To(HaveLen(1))
	g.Expect(conditions.IsTrue(again, "Ready")).To(BeTrue())
}

// RT-14, COND-6: random sequences of marks end without an error once Ready was
// summarised and the generation recorded.
func TestRandomSequencesAreConsistent(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		o := app(1 + r.Int64N(3))
		o.Status.ObservedGeneration = -1
		for range r.IntN(8) {
			switch r.IntN(4) {
			case 0:
				conditions.MarkTrue(o, "FetchFailed", "X", "m")
			case 1:
				conditions.Delete(o, "FetchFailed")
			case 2:
				conditions.MarkReconciling(o, "P", "m")
			case 3:
				conditions.MarkStalled(o, "S", "m")
			}
		}
		conditions.Summarize(o, "Ready", conditions.SummaryOptions{
			From:     []string{"Stalled", "FetchFailed", "Reconciling"},
			Negative: check.Negative(), Fallback: metav1.Condition{Status: metav1.ConditionTrue, Reason: "Succeeded"},
		})
		if conditions.IsReady(o) || conditions.IsStalled(o) {
			o.Status.ObservedGeneration = o.Generation
		}
		if found := check.Errors(check.Object(o)); len(found) > 0 {
			t.Fatalf("%v: %v", found, o.Status)
		}
	}
}

func FuzzMerge(f *testing.F) {
	f.Add(uint8(1), uint8(2), uint8(3), true)
	f.Fuzz(func(t *testing.T, a, b, c uint8, owned bool) {
		list := func(n uint8) (out []metav1.Condition) {
			for i, typ := range []string{"A", "B", "C", "D"} {
				if v := n >> (2 * i) & 3; v > 0 {
					out = append(out, metav1.Condition{Type: typ, Status: metav1.ConditionTrue, Reason: string('a' + rune(v))})
				}
			}
			return out
		}
		var o []string
		if owned {
			o = []string{"A", "B", "C", "D"}
		}
		got, err := conditions.Merge(list(a), list(b), list(c), o)
		if owned && err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, x := range got {
			if seen[x.Type] {
				t.Fatalf("%s twice", x.Type)
			}
			seen[x.Type] = true
		}
	})
}
