// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS, labels: {tier: front}}
spec:
  REPLICAS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: a, image: "example.com/a:1"}
      - {name: b, image: "example.com/b:1"}
`

func withReplicas(n string) string { return strings.ReplaceAll(web, "REPLICAS", n) }

// SSA-45, SSA-46, SSA-47, SSA-48, SSA-49, SSA-65: life with other managers.
// Each row says what somebody else did, the rules, and what the plan and
// Explain make of it.
func TestIgnoreAndOwnership(t *testing.T) {
	t.Parallel()
	rule := func(paths ...string) []ssa.PathRule { return []ssa.PathRule{{Paths: paths}} }
	scale := func(e *env, u *unstructured.Unstructured) {
		e.patch("hpa", u, `[{"op":"replace","path":"/spec/replicas","value":5}]`)
	}
	imageByApply := func(e *env, u *unstructured.Unstructured) {
		e.applyAs("image-policy", e.objects(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec: {template: {spec: {containers: [{name: b, image: "example.com/b:2"}]}}}
`)[0])
	}
	cases := map[string]struct {
		reason   string
		act      func(*env, *unstructured.Unstructured)
		rules    []ssa.PathRule
		desired  string
		want     string
		change   string // a path that must be among the changes
		path     string // for Explain
		fate     string
		owner    string
		liveWant any // spec.replicas after the apply
	}{
		"ScaledNoRule":    {"without a rule the count is corrected", scale, nil, "replicas: 3", "update Changed", "/spec/replicas", "/spec/replicas", ssa.FateSet, "hpa", int64(3)},
		"ScaledIgnored":   {"with a rule it is left alone", scale, rule("/spec/replicas"), "replicas: 3", "unchanged", "", "/spec/replicas", ssa.FateIgnored, "hpa", int64(5)},
		"ScaledReleased":  {"taken out of the set after an autoscaler took it: stays", scale, nil, "", "unchanged", "", "/spec/replicas", ssa.FateKeep, "hpa", int64(5)},
		"RemovedUnscaled": {"taken out of the set while ours: falls back to the default", func(*env, *unstructured.Unstructured) {}, nil, "", "update Changed", "/spec/replicas", "/spec/replicas", ssa.FateRemove, testManager, int64(1)},
		"OtherRuleTarget": {"a rule for other objects does not count", scale, []ssa.PathRule{{Paths: []string{"/spec/replicas"}, Target: ssa.Match{Name: "we"}}}, "replicas: 3", "update Changed", "/spec/replicas", "/spec/replicas", ssa.FateSet, "hpa", int64(3)},
		"TargetMatches":   {"every field of a target must match, anchored", scale, []ssa.PathRule{{Paths: []string{"/spec/nothing"}}, {Paths: []string{"/spec/replicas"}, Target: ssa.Match{Group: "apps", Version: "v1", Kind: "Dep.*", Name: "w.b", LabelSelector: "tier=front"}}}, "replicas: 3", "unchanged", "", "/spec/replicas", ssa.FateIgnored, "hpa", int64(5)},
		"ImageByIndex":    {"an index means the item, not the position", imageByApply, rule("/spec/template/spec/containers/1/image"), "replicas: 3", "unchanged", "", "/spec/template/spec/containers/1/image", ssa.FateIgnored, "image-policy", int64(3)},
		"ImageByWildcard": {"a star is every item", imageByApply, rule("/spec/template/spec/containers/*/image"), "replicas: 3", "unchanged", "", "/spec/template/spec/containers/0/image", ssa.FateIgnored, testManager, int64(3)},
		"ImageNoRule":     {"without a rule the image is ours again", imageByApply, nil, "replicas: 3", "update Changed", "/spec/template/spec/containers/1/image", "/spec/template/spec/containers/1/image", ssa.FateSet, "image-policy", int64(3)},
		"WholeObject":     {"the empty pointer is the whole object", scale, rule(""), "replicas: 3", "skip Ignored", "", "/spec/replicas", ssa.FateIgnored, "hpa", int64(5)},
		"ManualLabel": {"a foreign label is not drift", func(e *env, u *unstructured.Unstructured) {
			e.patch("kubectl-label", u, `[{"op":"add","path":"/metadata/labels/x","value":"y"}]`)
		}, nil, "replicas: 3", "unchanged", "", "/metadata/labels/x", ssa.FateKeep, "kubectl-label", int64(3)},
		"ManualEditOfLabel": {"our label is corrected", func(e *env, u *unstructured.Unstructured) {
			e.patch("kubectl-label", u, `[{"op":"replace","path":"/metadata/labels/tier","value":"y"}]`)
		}, nil, "replicas: 3", "update Changed", "/metadata/labels/tier", "/metadata/labels/tier", ssa.FateSet, "kubectl-label", int64(3)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, ssa.Options{})
			g := e.g
			first := e.objects(withReplicas("replicas: 3"))
			e.apply(first, ssa.PlanOptions{})
			tc.act(e, first[0])
			desired := e.objects(withReplicas(tc.desired))
			o := ssa.PlanOptions{Ignore: tc.rules}
			p := e.plan(desired, o)
			g.Expect(decisions(p)["Deployment/web"]).To(HavePrefix(tc.want), tc.reason)
			var changed []string
			for _, c := range p.Entries[0].Changes {
				changed = append(changed, c.Path)
			}
			if tc.change != "" {
				g.Expect(changed).To(ContainElement(tc.change), tc.reason)
			} else {
				g.Expect(changed).To(BeEmpty(), tc.reason)
			}
			x, err := e.m.Explain(t.Context(), desired[0], o)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(x.Requests.DryRun + x.Requests.List).To(BeNumerically("<=", 1))
			g.Expect(x.Requests.Get).To(BeNumerically("<=", 2)) // 1, and 1 when a controller wrote the object meanwhile
			found := false
			for _, f := range x.Fields {
				if f.Path != tc.path {
					continue
				}
				found = true
				g.Expect(f.Decision).To(Equal(tc.fate), "%s: %+v", tc.reason, f)
				var owners []string
				for _, m := range f.Managers {
					owners = append(owners, m.Name)
				}
				g.Expect(owners).To(ContainElement(tc.owner), tc.reason)
			}
			g.Expect(found).To(BeTrue(), "Explain does not know %s", tc.path)
			_, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			n, _, _ := unstructured.NestedInt64(e.live(desired[0]).Object, "spec", "replicas")
			g.Expect(n).To(Equal(tc.liveWant), tc.reason)
			if tc.want != "skip Ignored" {
				g.Expect(decisions(e.plan(desired, o))["Deployment/web"]).To(HavePrefix("unchanged"), tc.reason)
			}
		})
	}
}

// SSA-47: written for another reason, an ignored field is left to the Apply
// manager that owns it, and keeps its live value otherwise.
func TestIgnoredFieldOfAWrittenObject(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	rules := []ssa.PathRule{{Paths: []string{"/spec/replicas", "/spec/template/spec/containers/1/image"}}}
	first := e.objects(withReplicas("replicas: 3"))
	e.apply(first, ssa.PlanOptions{})
	e.patch("hpa", first[0], `[{"op":"replace","path":"/spec/replicas","value":5}]`)
	e.applyAs("image-policy", e.objects("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: NS}\nspec: {template: {spec: {containers: [{name: b, image: \"example.com/b:2\"}]}}}\n")[0])
	next := e.objects(strings.ReplaceAll(withReplicas("replicas: 3"), "tier: front", "tier: back"))
	p := e.plan(next, ssa.PlanOptions{Ignore: rules})
	g.Expect(p.Entries[0].Changes).To(HaveLen(1))
	_, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	live := e.live(next[0])
	n, _, _ := unstructured.NestedInt64(live.Object, "spec", "replicas")
	g.Expect(n).To(Equal(int64(5)))
	cs, _, _ := unstructured.NestedSlice(live.Object, "spec", "template", "spec", "containers")
	g.Expect(cs[1].(map[string]any)["image"]).To(Equal("example.com/b:2"))
	for _, m := range live.GetManagedFields() {
		if m.Manager == testManager {
			g.Expect(m.FieldsV1.GetRawString()).To(ContainSubstring(`"f:replicas"`), "adopted with its live value")
			g.Expect(strings.Count(m.FieldsV1.GetRawString(), `"f:image"`)).To(Equal(1), "left to the Apply manager")
		}
	}
	g.Expect(decisions(e.plan(next, ssa.PlanOptions{Ignore: rules}))["Deployment/web"]).To(Equal("unchanged Proved"))
}

// SSA-45
func TestMalformedRules(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	for name, r := range map[string]ssa.PathRule{
		"NoSlash": {Paths: []string{"spec"}}, "Escape": {Paths: []string{"/a~2"}}, "Pattern": {Target: ssa.Match{Name: "("}}, "Selector": {Target: ssa.Match{LabelSelector: "a in"}},
	} {
		t.Run(name, func(t *testing.T) {
			e.rec.Reset()
			p, err := e.m.Plan(t.Context(), e.objects(cm("")), ssa.PlanOptions{Ignore: []ssa.PathRule{{}, r}})
			var re *ssa.RuleError
			e.g.Expect(errors.As(err, &re)).To(BeTrue())
			e.g.Expect(re.Index).To(Equal(1))
			e.g.Expect(re.Terminal()).To(BeTrue())
			e.g.Expect(p.Entries).To(HaveLen(1))
			e.g.Expect(e.rec.Calls()).To(BeEmpty())
		})
	}
	_, err := e.m.Plan(t.Context(), nil, ssa.PlanOptions{Ignore: []ssa.PathRule{{Paths: make([]string, 1001)}}})
	e.g.Expect(errors.Is(err, ssa.ErrLimit)).To(BeTrue())
}
