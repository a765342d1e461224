// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// printed is everything that can be shown of a plan and what became of it.
func printed(vs ...any) string {
	var b strings.Builder
	for _, v := range vs {
		j, _ := json.Marshal(v)
		fmt.Fprintf(&b, "%v\n%+v\n%s\n", v, v, j)
	}
	return b.String()
}

// N26, SSA-63, SSA-98: a take-over removes what the set does not want, and
// lists it without showing it.
func TestTakeoverShowsNoSecret(t *testing.T) {
	t.Parallel()
	const canary = "canary-of-the-takeover"
	e := newEnv(t, ssa.Options{DigestKey: []byte("key"), Sensitive: []ssa.PathRule{{Paths: []string{"/spec/template/spec/containers/*/env"}, Target: ssa.Match{Kind: "Deployment"}}}})
	g := e.g
	for _, u := range e.objects(`
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: NS, annotations: {example.com/old: x}}
stringData: {keep: k, stale: ` + canary + `}
---
apiVersion: v1
kind: Secret
metadata: {name: all, namespace: NS}
stringData: {stale: ` + canary + `}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: marked, namespace: NS, labels: {gitops-kit.github.io/sensitive: "true"}}
data: {a: "1", stale: ` + canary + `}
---
` + strings.ReplaceAll(withReplicas("replicas: 1"), `{name: b, image: "example.com/b:1"}`, `{name: b, image: "example.com/b:1", env: [{name: A, value: `+canary+`}]}`)) {
		if data, ok := u.Object["stringData"].(map[string]any); ok {
			for k, v := range data {
				data[k] = base64.StdEncoding.EncodeToString([]byte(v.(string)))
			}
			u.Object["data"] = data
			delete(u.Object, "stringData")
		}
		e.createAs("kubectl-create", u)
	}
	desired := e.objects(`
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: NS}
stringData: {keep: k}
---
apiVersion: v1
kind: Secret
metadata: {name: all, namespace: NS}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: marked, namespace: NS, labels: {gitops-kit.github.io/sensitive: "true"}}
data: {a: "1"}
---
` + withReplicas("replicas: 1"))
	o := ssa.PlanOptions{Takeover: ssa.Takeover{Managers: []ssa.ManagerMatch{{Name: "kubectl"}}, Annotations: []string{"example.com/old"}}}
	p := e.plan(desired, o)
	removed := map[string]bool{}
	for i := range p.Entries {
		for _, c := range p.Entries[i].Changes {
			if c.Op == ssa.OpRemove {
				removed[p.Entries[i].ID.Name+c.Path] = c.Masked
			}
		}
	}
	for path, masked := range map[string]bool{
		"s/data/stale": true, "s/metadata/annotations/example.com~1old": false, "s/metadata/managedFields": false,
		"all/data": true, "marked/data/stale": true, "web/spec/template/spec/containers/1/env": true,
	} {
		g.Expect(removed).To(HaveKeyWithValue(path, masked))
	}
	drift := ssa.DriftReport(p, ssa.DriftOptions{})
	before := printed(p, p.Entries, p.Diff(ssa.DiffOptions{All: true}), p.Diff(ssa.DiffOptions{}).String(), drift)
	for _, u := range desired {
		x, err := e.m.Explain(t.Context(), u, o)
		g.Expect(err).NotTo(HaveOccurred())
		before += printed(x)
	}
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	all := before + printed(r, r.Outcomes)
	g.Expect(all).To(ContainSubstring("*** (before)"))
	for _, form := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary))} {
		g.Expect(strings.Contains(all, form)).To(BeFalse(), "a secret value is shown")
	}
	g.Expect(e.live(desired[0]).Object["data"]).To(HaveLen(1))
	g.Expect(e.live(desired[1]).Object).NotTo(HaveKey("data"))
	g.Expect(e.live(desired[2]).Object["data"]).To(HaveLen(1))
}

// N26, SSA-98: text where a map of secret values belongs is secret, too.
func TestTextInPlaceOfSecrets(t *testing.T) {
	t.Parallel()
	const canary = "hunter2-in-the-wrong-place"
	e := newEnv(t, ssa.Options{Sensitive: []ssa.PathRule{{Paths: []string{"/spec/creds/*", "/spec/list/0/token", "/spec/named/token"}, Target: ssa.Match{Kind: "Widget"}}}})
	g := e.g
	group := e.ns + ".example.com"
	definition := e.objects(crd(group, "{type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}"))
	e.apply(definition, ssa.PlanOptions{})
	t.Cleanup(func() { e.cleanup(definition) })
	widget := "apiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: w, namespace: NS}\nspec: "
	old := e.objects(widget + "{creds: old-" + canary + ", list: old-" + canary + ", named: [old-" + canary + "]}\n")[0]
	e.createAs("someone", old)
	objects := e.objects(strings.Join([]string{
		"apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: NS}\ndata: " + canary + "\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: b, namespace: NS}\nstringData: " + canary + "\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: c, namespace: NS}\ndata: [" + canary + "]\n",
		widget + "{creds: " + canary + ", list: [" + canary + "], named: [" + canary + "]}\n",
	}, "---\n"))
	for _, o := range []ssa.PlanOptions{{}, {Direct: true}, {Takeover: ssa.Takeover{Managers: []ssa.ManagerMatch{{Name: "someone"}}}}} {
		p, err := e.m.Plan(t.Context(), objects, o)
		all := printed(p, p.Entries, p.Diff(ssa.DiffOptions{All: true}), p.Diff(ssa.DiffOptions{}).String(), ssa.DriftReport(p, ssa.DriftOptions{}), err)
		for _, u := range objects {
			x, err := e.m.Explain(t.Context(), u, o)
			all += printed(x, err)
		}
		g.Expect(all).To(ContainSubstring("***"))
		i := strings.Index(all, canary)
		g.Expect(i).To(BeNumerically("<", 0), "shown: %s", all[max(0, i-300):max(0, i)])
	}
}

// SSA-63, SSA-97: the diff of a take-over shows everything that goes away, in
// metadata and in lists as well.
func TestDiffOfATakeover(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	old := e.objects(strings.ReplaceAll(withReplicas("replicas: 1\n  revisionHistoryLimit: 3"), "tier: front", "tier: front, listed: x, owned: x"))[0]
	old.SetAnnotations(map[string]string{"example.com/owned": "x"})
	e.createAs("kubectl-create", old)
	e.applyAs("other", e.objects("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: NS, annotations: {example.com/kept: x}}\n")[0])
	desired := e.objects(strings.ReplaceAll(withReplicas("replicas: 1"), `      - {name: b, image: "example.com/b:1"}`, ""))
	o := ssa.PlanOptions{Takeover: ssa.Takeover{Managers: []ssa.ManagerMatch{{Name: "kubectl"}}, Labels: []string{"listed"}}}
	p := e.plan(desired, o)
	var removed []string
	for _, c := range p.Entries[0].Changes {
		if c.Op == ssa.OpRemove {
			removed = append(removed, c.Path)
		}
	}
	g.Expect(removed).To(ContainElements("/metadata/labels/listed", "/metadata/labels/owned", "/metadata/annotations/example.com~1owned",
		"/metadata/managedFields", "/spec/template/spec/containers/1", "/spec/revisionHistoryLimit"))
	g.Expect(removed).NotTo(ContainElements(HavePrefix("/metadata/labels/tier"), HavePrefix("/metadata/annotations/example.com~1kept"), "/spec/replicas"))
	text := p.Diff(ssa.DiffOptions{}).String()
	for _, line := range []string{"-    listed: x", "-    owned: x", "-    example.com/owned: x", "-      - image: example.com/b:1", "-  revisionHistoryLimit: 3"} {
		g.Expect(text).To(ContainSubstring(line + "\n"))
	}
	g.Expect(text).NotTo(ContainSubstring("-    example.com/kept"))
	_, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	live := e.live(desired[0])
	g.Expect(live.GetLabels()).NotTo(Or(HaveKey("listed"), HaveKey("owned")))
	g.Expect(live.GetAnnotations()).To(And(HaveKey("example.com/kept"), Not(HaveKey("example.com/owned"))))
	containers, _, _ := unstructured.NestedSlice(live.Object, "spec", "template", "spec", "containers")
	g.Expect(containers).To(HaveLen(1))
}

// SSA-21 (rule 5): whether an existing object is left alone says the desired
// one: a marker that left the set no longer counts, wherever it still is.
func TestPresentIsSaidByTheSet(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	o := ssa.PlanOptions{IfNotPresent: ssa.Selector{"example.com/ssa": "IfNotPresent"}}
	e.apply(e.objects(cm(", annotations: {example.com/ssa: IfNotPresent}")), o)
	desired := e.objects(strings.ReplaceAll(cm(""), `a: "1"`, `a: "2"`))
	p := e.plan(desired, o)
	g.Expect(decisions(p)["ConfigMap/c"]).To(Equal("update Changed"))
	_, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	live := e.live(desired[0])
	g.Expect(live.Object["data"]).To(Equal(map[string]any{"a": "2"}))
	g.Expect(live.GetAnnotations()).To(BeEmpty())
}
