// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// SSA-47, SSA-48, SSA-49, SSA-65: an ignored field that left the set while it
// is ours keeps its live value when the object is written for another reason:
// every row drops it, and changes a label.
func TestIgnoredFieldThatLeftTheSet(t *testing.T) {
	t.Parallel()
	label := func(u *unstructured.Unstructured) {
		u.SetLabels(map[string]string{"tier": "back"})
	}
	cases := map[string]struct {
		reason  string
		act     func(*env, *unstructured.Unstructured)
		paths   []string
		drop    func(u *unstructured.Unstructured)
		path    []string // of the field that must keep its value
		want    any
		changes int
		ours    string // a piece of our field set afterwards; "!" in front: not
	}{
		"Scalar": {
			"a count that is ours stays", nil,
			[]string{"/spec/replicas"},
			func(u *unstructured.Unstructured) { unstructured.RemoveNestedField(u.Object, "spec", "replicas") },
			[]string{"spec", "replicas"},
			int64(3), 1, `"f:replicas"`,
		},
		"LeftToApply": {
			"another Apply manager keeps it", func(e *env, u *unstructured.Unstructured) {
				e.applyAs("scaler", e.objects("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: NS}\nspec: {replicas: 3}\n")[0])
			},
			[]string{"/spec/replicas"},
			func(u *unstructured.Unstructured) { unstructured.RemoveNestedField(u.Object, "spec", "replicas") },
			[]string{"spec", "replicas"},
			int64(3), 1, `!"f:replicas"`,
		},
		"ParentDropped": {
			"its parent left with it", nil,
			[]string{"/spec/template/metadata/annotations/a"},
			func(u *unstructured.Unstructured) {
				unstructured.RemoveNestedField(u.Object, "spec", "template", "metadata", "annotations")
			},
			[]string{"spec", "template", "metadata", "annotations"},
			map[string]any{"a": "1"},
			2, `"f:annotations"`,
		}, // b is removed: no rule names it
		"Map": {
			"every field of a map", nil,
			[]string{"/spec/template/metadata/annotations"},
			func(u *unstructured.Unstructured) {
				unstructured.RemoveNestedField(u.Object, "spec", "template", "metadata", "annotations", "b")
			},
			[]string{"spec", "template", "metadata", "annotations"},
			map[string]any{"a": "1", "b": "2"},
			1, `"f:b"`,
		},
		"SharedMap": {
			"a map of which another Apply manager has a part", func(e *env, u *unstructured.Unstructured) {
				e.applyAs("other", e.objects("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: NS}\nspec: {template: {metadata: {annotations: {c: \"3\"}}}}\n")[0])
			},
			[]string{"/spec/template/metadata/annotations"},
			func(u *unstructured.Unstructured) {
				unstructured.RemoveNestedField(u.Object, "spec", "template", "metadata", "annotations", "b")
			},
			[]string{"spec", "template", "metadata", "annotations"},
			map[string]any{"a": "1", "b": "2", "c": "3"},
			1, `!"f:c"`,
		},
		"Wildcard": {
			"every key", nil,
			[]string{"/spec/template/metadata/annotations/*"},
			func(u *unstructured.Unstructured) {
				unstructured.RemoveNestedField(u.Object, "spec", "template", "metadata", "annotations")
			},
			[]string{"spec", "template", "metadata", "annotations"},
			map[string]any{"a": "1", "b": "2"},
			1, `"f:b"`,
		},
		"InAnItem": {
			"a field of an item that stays", nil,
			[]string{"/spec/template/spec/containers/0/env"},
			func(u *unstructured.Unstructured) {
				cs, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
				delete(cs[0].(map[string]any), "env")
				_ = unstructured.SetNestedSlice(u.Object, cs, "spec", "template", "spec", "containers")
			},
			[]string{"spec", "template", "spec", "nodeSelector"},
			map[string]any{"x": "1", "z": "2"},
			1, `"f:env"`,
		},
		"ItemDropped": {
			"a rule for fields of items does not hold an item", nil,
			[]string{"/spec/template/spec/containers/*/image"},
			func(u *unstructured.Unstructured) {
				cs, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
				_ = unstructured.SetNestedSlice(u.Object, cs[:1], "spec", "template", "spec", "containers")
			},
			[]string{"spec", "replicas"},
			int64(3), 2, `!example.com`,
		},
		"Atomic": {
			"a field of a map that is owned as a whole", nil,
			[]string{"/spec/template/spec/nodeSelector/z"},
			func(u *unstructured.Unstructured) {
				unstructured.RemoveNestedField(u.Object, "spec", "template", "spec", "nodeSelector", "z")
			},
			[]string{"spec", "template", "spec", "nodeSelector"},
			map[string]any{"x": "1", "z": "2"},
			1, `"f:nodeSelector"`,
		},
	}
	const text = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS, labels: {tier: front}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {a: "1", b: "2"}}
    spec:
      nodeSelector: {x: "1", z: "2"}
      containers:
      - {name: a, image: "example.com/a:1", env: [{name: A, value: "1"}]}
      - {name: b, image: "example.com/b:1"}
`
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, ssa.Options{})
			g := e.g
			first := e.objects(text)
			e.apply(first, ssa.PlanOptions{})
			if tc.act != nil {
				tc.act(e, first[0])
			}
			next := e.objects(text)
			tc.drop(next[0])
			o := ssa.PlanOptions{Ignore: []ssa.PathRule{{Paths: tc.paths}}}
			if tc.changes == 1 { // without another reason nothing is written
				p := e.plan(next, o)
				g.Expect(decisions(p)["Deployment/web"]).To(HavePrefix("unchanged"), "%s: %v", tc.reason, p.Entries[0].Changes)
			}
			label(next[0])
			p := e.plan(next, o)
			g.Expect(decisions(p)["Deployment/web"]).To(HavePrefix("update"), tc.reason)
			g.Expect(p.Entries[0].Changes).To(HaveLen(tc.changes), tc.reason)
			_, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			live := e.live(next[0])
			g.Expect(live.GetLabels()).To(HaveKeyWithValue("tier", "back"))
			v, _, _ := unstructured.NestedFieldCopy(live.Object, tc.path...)
			g.Expect(v).To(Equal(tc.want), tc.reason)
			piece, not := strings.CutPrefix(tc.ours, "!")
			for _, m := range live.GetManagedFields() {
				if m.Manager != testManager {
					continue
				}
				if not {
					g.Expect(m.FieldsV1.GetRawString()).NotTo(ContainSubstring(piece), tc.reason)
				} else {
					g.Expect(m.FieldsV1.GetRawString()).To(ContainSubstring(piece), tc.reason)
				}
			}
			g.Expect(decisions(e.plan(next, o))["Deployment/web"]).To(Equal("unchanged Proved"), tc.reason)
		})
	}
}
