// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
)

type object struct {
	annotations map[string]string
	handled     string
}

func (o *object) GetAnnotations() map[string]string { return o.annotations }
func (o *object) HandledRequest() *string           { return &o.handled }

// REQ-1
func TestReconcileRequested(t *testing.T) {
	g := NewWithT(t)
	_, ok := meta.ReconcileRequested(nil)
	g.Expect(ok).To(BeFalse())
	_, ok = meta.ReconcileRequested(map[string]string{meta.ReconcileRequestAnnotation: ""})
	g.Expect(ok).To(BeFalse())
	token, ok := meta.ReconcileRequested(map[string]string{meta.ReconcileRequestAnnotation: "not a time"})
	g.Expect(ok).To(BeTrue())
	g.Expect(token).To(Equal("not a time"))
}

// REQ-2
func TestHandleRequest(t *testing.T) {
	const at, force = meta.ReconcileRequestAnnotation, meta.ForceRequestAnnotation
	cases := map[string]struct {
		reason      string
		annotations map[string]string
		handled     string
		last        string
		act         bool
		recorded    string
	}{
		"Fresh":     {reason: "equal and fresh acts", annotations: map[string]string{at: "1", force: "1"}, act: true, recorded: "1"},
		"Unequal":   {reason: "unequal is recorded only", annotations: map[string]string{at: "2", force: "1"}, recorded: "1"},
		"Handled":   {reason: "the request was handled before", annotations: map[string]string{at: "1", force: "1"}, handled: "1", recorded: "1"},
		"Repeated":  {reason: "the force was handled before", annotations: map[string]string{at: "1", force: "1"}, last: "1", recorded: "1"},
		"Absent":    {reason: "untouched", annotations: map[string]string{at: "1"}, last: "0", recorded: "0"},
		"NoRequest": {reason: "force alone does nothing", annotations: map[string]string{force: "1"}, recorded: "1"},
		"Next":      {reason: "a new value after a handled one", annotations: map[string]string{at: "2", force: "2"}, handled: "1", last: "1", act: true, recorded: "2"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := &object{annotations: tc.annotations, handled: tc.handled}
			last := tc.last
			g.Expect(meta.HandleRequest(o, force, &last)).To(Equal(tc.act), tc.reason)
			g.Expect(last).To(Equal(tc.last), "asking changes nothing")
			meta.RecordRequest(o, force, &last)
			g.Expect(last).To(Equal(tc.recorded), tc.reason)
		})
	}
}

// HIST-1, HIST-2
func TestHistory(t *testing.T) {
	g := NewWithT(t)
	at := func(n int) time.Time { return time.Date(2026, 1, 1, 0, n, 0, 5, time.UTC) }
	var h meta.History
	g.Expect(h.Latest()).To(BeNil())
	for i, d := range []string{"a", "b", "c", "d", "e"} {
		h.Upsert(meta.SnapshotUpdate{Digest: d, Status: "Ok", At: at(i), Took: time.Second})
	}
	meta0 := map[string]string{"revision": "x"}
	h.Upsert(meta.SnapshotUpdate{Digest: "b", Status: "Ok", At: at(10), Took: 2 * time.Second, Metadata: meta0, Runs: 3})
	meta0["revision"] = "changed later"
	digests := func() (out []string) {
		for _, s := range h {
			out = append(out, s.Digest+s.LastReconciledStatus)
		}
		return out
	}
	g.Expect(cmp.Diff([]string{"bOk", "eOk", "dOk", "cOk", "aOk"}, digests())).To(BeEmpty())
	b := h.Latest()
	g.Expect(b.FirstReconciled.Time).To(Equal(at(1).Truncate(time.Second)))
	g.Expect(b.LastReconciled.Time).To(Equal(at(10).Truncate(time.Second)))
	g.Expect(b.TotalReconciliations).To(Equal(int64(4)))
	g.Expect(b.LastReconciledDuration.Duration).To(Equal(2 * time.Second))
	g.Expect(b.Metadata).To(Equal(map[string]string{"revision": "x"}))
	h.Upsert(meta.SnapshotUpdate{Digest: "b", Status: "Failed", At: at(11)})
	g.Expect(cmp.Diff([]string{"bFailed", "bOk", "eOk", "dOk", "cOk"}, digests())).To(BeEmpty(), "another status is another snapshot; five stay")
}

// ACL-1
func TestAccessFrom(t *testing.T) {
	g := NewWithT(t)
	labels := map[string]string{"team": "a", "env": "prod"}
	sel := func(m ...map[string]string) *meta.AccessFrom {
		a := &meta.AccessFrom{}
		for _, x := range m {
			a.NamespaceSelectors = append(a.NamespaceSelectors, meta.NamespaceSelector{MatchLabels: x})
		}
		return a
	}
	g.Expect((*meta.AccessFrom)(nil).Matches(labels)).To(BeFalse())
	g.Expect(sel().Matches(labels)).To(BeFalse(), "an empty list matches none")
	g.Expect(sel(map[string]string{}).Matches(nil)).To(BeTrue(), "empty labels match every namespace")
	g.Expect(sel(map[string]string{"team": "a", "env": "prod"}).Matches(labels)).To(BeTrue())
	g.Expect(sel(map[string]string{"team": "a", "env": "dev"}).Matches(labels)).To(BeFalse(), "labels are ANDed")
	g.Expect(sel(map[string]string{"team": "b"}, map[string]string{"env": "prod"}).Matches(labels)).To(BeTrue(), "selectors are ORed")
}

func TestDependencyReference(t *testing.T) {
	cases := map[string]meta.DependencyReference{
		"a":                     {Name: "a"},
		"ns/a":                  {Namespace: "ns", Name: "a"},
		"ns/a@dep.x == 'a/b@c'": {Namespace: "ns", Name: "a", ReadyExpr: "dep.x == 'a/b@c'"},
	}
	for s, want := range cases {
		t.Run(s, func(t *testing.T) {
			g := NewWithT(t)
			got, err := meta.ParseDependencyReference(s)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(want))
			g.Expect(got.String()).To(Equal(s))
		})
	}
	for _, s := range []string{"", "/a", "ns/", "@x", "a@"} {
		_, err := meta.ParseDependencyReference(s)
		NewWithT(t).Expect(errors.Is(err, meta.ErrReference)).To(BeTrue(), s)
	}
}

func FuzzDependencyReference(f *testing.F) {
	f.Add("ns/a@x")
	f.Add("a")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := meta.ParseDependencyReference(s)
		if err == nil && r.String() != s {
			t.Fatalf("%q became %q", s, r)
		}
	})
}

// Error texts are one line without "failed to", whatever they quote.
func TestErrorTexts(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	for name, err := range map[string]error{
		"duration": &meta.DurationError{Field: "f", Raw: long, Min: 1, Max: 2}, "raw": &meta.DurationError{Raw: "a\nb"},
		"objectid": &meta.ObjectIDError{Raw: long + "\n", Why: "w"}, "event": &meta.EventError{Field: "f", Why: "w"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(err.Error()).NotTo(Or(ContainSubstring("\n"), ContainSubstring("failed to")))
			g.Expect(len(err.Error())).To(BeNumerically("<", 400))
		})
	}
}
