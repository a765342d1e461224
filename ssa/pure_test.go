// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// SSA-1, MOD-10: what package ssa compiles.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}} {{.ImportPath}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		module, pkg, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if module != "" && module != "github.com/gitops-kit/sdk/ssa" {
			modules[module] = true
		}
		for _, bad := range []string{"k8s.io/kubectl", "spf13/cobra", "sigs.k8s.io/kustomize", "cli-utils", "google/cel-go", "controller-runtime", "json-patch", "onsi/", "testing"} {
			if pkg == bad || bad != "testing" && strings.Contains(pkg, bad) {
				t.Errorf("imports %s", pkg)
			}
		}
	}
	if len(modules) > 45 {
		t.Errorf("%d modules", len(modules))
	}
	t.Logf("%d modules", len(modules))
}

// SSA-14
func TestParseGroupKinds(t *testing.T) {
	g := NewWithT(t)
	got, err := ssa.ParseGroupKinds(" cert-manager.io/Issuer, ConfigMap ")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal(ssa.GroupKinds{{Group: "cert-manager.io", Kind: "Issuer"}, {Kind: "ConfigMap"}}))
	g.Expect(got.Match(schema.GroupKind{Kind: "ConfigMap"})).To(BeTrue())
	g.Expect(got.Match(schema.GroupKind{Group: "x", Kind: "ConfigMap"})).To(BeFalse())
	none, err := ssa.ParseGroupKinds("")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(none).To(BeEmpty())
	for _, bad := range []string{",", "a/", "/Kind", "a/b/C", "kind", "a b/C", "A,"} {
		_, err := ssa.ParseGroupKinds(bad)
		g.Expect(errors.Is(err, ssa.ErrInvalidObject)).To(BeTrue(), bad)
	}
}

// SSA-90
func TestParseBudget(t *testing.T) {
	g := NewWithT(t)
	for text, want := range map[string]ssa.Budget{"": {}, "5": {Count: 5}, "10/20%": {Count: 10, Percent: 20}, "0/100%": {Percent: 100}} {
		got, err := ssa.ParseBudget(text)
		g.Expect(err).NotTo(HaveOccurred(), text)
		g.Expect(got).To(Equal(want))
		g.Expect(got.String()).To(Equal(text))
	}
	for _, bad := range []string{"0", "-1", "5/", "5/20", "5/0%", "5/101%", "05", "5/020%", "x", "5 ", "99999999999"} {
		_, err := ssa.ParseBudget(bad)
		g.Expect(errors.Is(err, ssa.ErrInvalidObject)).To(BeTrue(), bad)
	}
}

// SSA-88
func TestGraph(t *testing.T) {
	g := NewWithT(t)
	var gr ssa.Graph[string]
	gr.Need("app", "db")
	gr.Need("app", "cache")
	gr.Need("db", "disk")
	gr.Add("alone")
	waves, err := gr.Order()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmp.Diff([][]string{{"cache", "disk", "alone"}, {"db"}, {"app"}}, waves)).To(BeEmpty())
	waves, _ = gr.Reverse()
	g.Expect(waves[0]).To(Equal([]string{"app"}))
	gr.Need("disk", "app")
	gr.Need("self", "self")
	_, err = gr.Order()
	var ge *ssa.GraphError[string]
	g.Expect(errors.As(err, &ge)).To(BeTrue())
	g.Expect(ge.Cycles).To(ConsistOf(ConsistOf("app", "db", "disk"), ConsistOf("self")))
	var deep ssa.Graph[int]
	for i := range 65 {
		deep.Need(i, i+1)
	}
	_, err = deep.Order()
	g.Expect(errors.Is(err, ssa.ErrLimit)).To(BeTrue())
	var long ssa.Graph[int]
	for i := range 200_000 {
		long.Need(i, (i+1)%200_000)
	}
	g.Expect(long.Cycles()).To(HaveLen(1)) // iterative: no stack overflow
}

// SSA-12, N37, N38
func TestReadObjects(t *testing.T) {
	cases := map[string]struct {
		reason, in string
		o          ssa.ReadOptions
		names      []string
		doc, line  int
		is         error
	}{
		"Documents":    {"several, with empty ones", "# c\n---\n---\napiVersion: v1\nkind: A\nmetadata: {name: a}\n--- # c\nkind: B\napiVersion: v1\nmetadata: {name: b}\n...\n", ssa.ReadOptions{}, []string{"a", "b"}, 0, 0, nil},
		"List":         {"flattened", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: A, metadata: {name: a}}, {apiVersion: v1, kind: BList, items: [{apiVersion: v1, kind: B, metadata: {name: b}}]}]\n", ssa.ReadOptions{}, []string{"a", "b"}, 0, 0, nil},
		"JSON":         {"one after the other", `{"apiVersion":"v1","kind":"A","metadata":{"name":"a"}} {"apiVersion":"v1","kind":"B","metadata":{"name":"b"}}`, ssa.ReadOptions{}, []string{"a", "b"}, 0, 0, nil},
		"Flow":         {"YAML that looks like JSON", "{apiVersion: v1, kind: A, metadata: {name: a}}\n", ssa.ReadOptions{}, []string{"a"}, 0, 0, nil},
		"LocalConfig":  {"dropped", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n", ssa.ReadOptions{}, nil, 0, 0, nil},
		"NotAnObject":  {"refused with its place", "apiVersion: v1\nkind: A\nmetadata: {name: a}\n---\na: b\n", ssa.ReadOptions{}, nil, 1, 4, ssa.ErrInvalidObject},
		"Skipped":      {"by option", "apiVersion: v1\nkind: A\nmetadata: {name: a}\n---\na: b\n", ssa.ReadOptions{SkipNonObjects: true}, []string{"a"}, 0, 0, nil},
		"DuplicateKey": {"an error", "apiVersion: v1\nkind: A\nmetadata: {name: a, name: b}\n", ssa.ReadOptions{}, nil, 0, 1, ssa.ErrInvalidObject},
		"UTF16":        {"not read", "\xff\xfea\x00", ssa.ReadOptions{}, nil, 0, 1, ssa.ErrInvalidObject},
		"NUL":          {"not read", "a: \x00", ssa.ReadOptions{}, nil, 0, 1, ssa.ErrInvalidObject},
		"Input":        {"limit", "apiVersion: v1\nkind: A\n", ssa.ReadOptions{Limits: ssa.Limits{Input: 10}}, nil, 0, 0, ssa.ErrLimit},
		"Docs":         {"limit", strings.Repeat("---\napiVersion: v1\nkind: A\nmetadata: {name: a}\n", 4), ssa.ReadOptions{Limits: ssa.Limits{Docs: 3}}, nil, 3, 13, ssa.ErrLimit},
		"Depth":        {"limit", "a: " + strings.Repeat("[", 9999) + strings.Repeat("]", 9999), ssa.ReadOptions{}, nil, 0, 1, ssa.ErrLimit},
		"Expanded":     {"one anchor, many aliases", "a: &a " + strings.Repeat("x", 64<<10) + "\nb:\n" + strings.Repeat("- *a\n", 2000), ssa.ReadOptions{}, nil, 0, 1, ssa.ErrLimit},
		"Laughs":       {"a billion", "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + laughs(12), ssa.ReadOptions{}, nil, 0, 1, ssa.ErrLimit},
		"Loop":         {"an alias inside of itself", "a: &a [*a]\n", ssa.ReadOptions{}, nil, 0, 1, ssa.ErrInvalidObject},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out, err := ssa.ReadObjects(strings.NewReader(tc.in), tc.o)
			if tc.is != nil {
				var de *ssa.DecodeError
				g.Expect(errors.As(err, &de)).To(BeTrue(), "%s: %v", tc.reason, err)
				g.Expect(errors.Is(err, tc.is)).To(BeTrue(), "%s: %v", tc.reason, err)
				g.Expect([]int{de.Document, de.Line}).To(Equal([]int{tc.doc, tc.line}), tc.reason)
				g.Expect(de.Terminal()).To(BeTrue())
				g.Expect(out).To(BeNil())
				return
			}
			g.Expect(err).NotTo(HaveOccurred(), tc.reason)
			var names []string
			for _, u := range out {
				names = append(names, u.GetName())
			}
			g.Expect(cmp.Diff(tc.names, names)).To(BeEmpty(), tc.reason)
		})
	}
}

func laughs(n int) string {
	var b strings.Builder
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return b.String()
}

// Style rule 15: every error type says what to do, in one line.
func TestErrorTypes(t *testing.T) {
	for _, err := range []error{
		&ssa.ObjectError{}, &ssa.PlanError{}, &ssa.ApplyError{}, &ssa.DeleteError{}, &ssa.PruneBlockedError{}, &ssa.ImmutableError{}, &ssa.ConflictError{},
		&ssa.OwnerConflictError{}, &ssa.UnknownKindError{}, &ssa.DryRunUnsupportedError{}, &ssa.TerminatingError{}, &ssa.CycleError{}, &ssa.RuleError{Err: errInjected},
		&ssa.DecodeError{Err: errInjected}, &ssa.LimitError{}, &ssa.WaitError{Err: ssa.ErrTimeout}, &ssa.GraphError[int]{},
	} {
		r, ok := err.(interface {
			Reason() string
			Terminal() bool
		})
		if !ok || r.Reason() == "" {
			t.Errorf("%T does not say what to do", err)
		}
		_ = r.Terminal()
		if s := err.Error(); strings.Contains(s, "failed to") || strings.Contains(s, "\n") {
			t.Errorf("%T: %q", err, s)
		}
	}
}

// SSA-99, F10, SSA-66
func TestDriftReportAndLoops(t *testing.T) {
	g := NewWithT(t)
	p := &ssa.Plan{}
	before, after := strings.Repeat("b", 1000), map[string]any{"x": strings.Repeat("a", 1000)}
	for i := range 10_000 {
		e := ssa.Entry{ID: ssa.ID{Namespace: "n", Name: fmt.Sprint("c", i), Kind: "ConfigMap"}, Decision: ssa.DecisionUpdate}
		for k := range 30 {
			e.Changes = append(e.Changes, ssa.Change{Op: "replace", Path: fmt.Sprint("/data/", k), Before: before, After: after})
		}
		p.Entries = append(p.Entries, e)
	}
	d := ssa.DriftReport(p, ssa.DriftOptions{})
	b, err := json.Marshal(d)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(b)).To(BeNumerically("<=", 32<<10))
	g.Expect(d.Cut).To(BeTrue())
	g.Expect(d.Counts[ssa.DecisionUpdate]).To(Equal(10_000))
	g.Expect(d.Objects).NotTo(BeEmpty())
	g.Expect(d.Objects[0].Cut).To(BeTrue())

	var l ssa.LoopDetector
	run := func(paths ...string) []ssa.Loop {
		o := ssa.Outcome{ID: ssa.ID{Name: "a", Kind: "A"}, Action: ssa.ActionConfigured}
		for _, p := range paths {
			o.Changes = append(o.Changes, ssa.Change{Path: p})
		}
		return l.Add(&ssa.Result{Outcomes: []ssa.Outcome{o}})
	}
	g.Expect(run("/a", "/b")).To(BeEmpty())
	g.Expect(run("/b", "/a")).To(BeEmpty())
	g.Expect(run("/a", "/b")).To(ConsistOf(HaveField("Paths", []string{"/a", "/b"})))
	g.Expect(run("/a")).To(BeEmpty())
	g.Expect(l.Add(&ssa.Result{Outcomes: []ssa.Outcome{{ID: ssa.ID{Name: "a", Kind: "A"}, Action: ssa.ActionUnchanged}}})).To(BeEmpty())
	g.Expect(run("/a")).To(BeEmpty())
}
