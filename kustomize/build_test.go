// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/kustomize"
)

const overlay = `
-- base/kustomization.yaml --
resources: [app.yaml, more]
configMapGenerator:
- name: settings
  literals: [a=b]
-- base/app.yaml --
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
spec:
  replicas: 1
  template:
    spec:
      containers:
      - name: app
        image: example.com/app:1
        envFrom:
        - configMapRef: {name: settings}
---
apiVersion: v1
kind: Service
metadata:
  name: app
-- base/more/kustomization.yml --
resources: [sa.yaml]
-- base/more/sa.yaml --
apiVersion: v1
kind: ServiceAccount
metadata: {name: app}
-- prod/kustomization.yaml --
namePrefix: prod-
resources: [../base]
`

func TestOverlay(t *testing.T) {
	g := NewWithT(t)
	res := mustBuild(t, files(overlay), kustomize.Options{Dir: "prod", Spec: kustomize.Spec{
		TargetNamespace: "01234",
		Images:          []kustomize.Image{{Name: "example.com/app", NewTag: "1e10"}},
		CommonMetadata:  kustomize.CommonMetadata{Labels: map[string]string{"team": "a"}},
		Patches: []kustomize.Patch{{
			Patch:  "- op: replace\n  path: /spec/replicas\n  value: 3\n",
			Target: &kustomize.Selector{Kind: "Deployment"},
		}},
	}})
	g.Expect(text(t, res)).To(ContainSubstring("image: example.com/app:1e10"))
	g.Expect(text(t, res)).To(ContainSubstring("replicas: 3"))
	var got []string
	for _, u := range res.Unstructured() {
		g.Expect(u.GetNamespace()).To(Equal("01234"))
		g.Expect(u.GetLabels()).To(HaveKeyWithValue("team", "a"))
		got = append(got, u.GetKind()+" "+u.GetName()+" "+res.Source(u))
	}
	g.Expect(got).To(Equal([]string{
		"Deployment prod-app base/app.yaml:1", "Service prod-app base/app.yaml:15", "ServiceAccount prod-app base/more/sa.yaml:1",
		"ConfigMap prod-settings-4h2mbtbbt6 base/kustomization.yaml:3",
	}))
}

func TestGenerated(t *testing.T) {
	g := NewWithT(t)
	res := mustBuild(t, files(`
-- a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data: {x: "${A} $${B} ${C:=d}"}
-- notes.txt --
none
-- sub/b.yml --
apiVersion: v1
kind: ConfigMap
metadata: {name: b}
`), kustomize.Options{Substitute: &kustomize.Substitution{Vars: map[string]kustomize.Var{"A": {Value: "1"}}}})
	g.Expect(text(t, res)).To(ContainSubstring("x: 1 ${B} d"))
	g.Expect(res.Objects).To(HaveLen(2))
}

func TestNegative(t *testing.T) {
	cm := "\n-- cm.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	for name, tc := range map[string]struct {
		tree string
		want error
	}{
		"Escape":   {"-- kustomization.yaml --\nresources: [../../../etc/passwd]\n", kustomize.ErrPathEscape},
		"Absolute": {"-- kustomization.yaml --\nresources: [/etc/passwd]\n", kustomize.ErrPathEscape},
		"Remote":   {"-- kustomization.yaml --\nresources: [github.com/a/b]\n", kustomize.ErrRemote},
		"Missing":  {"-- kustomization.yaml --\nresources: [x.yaml]\n", kustomize.ErrNoSuchFile},
		"Helm":     {"-- kustomization.yaml --\nhelmCharts: [{name: x}]\nresources: [cm.yaml]" + cm, kustomize.ErrForbidden},
		"Version":  {"-- kustomization.yaml --\nopenapi: {version: v1.1.1}\nresources: [cm.yaml]" + cm, kustomize.ErrOpenAPIVersion},
		"Duplicate": {
			"-- kustomization.yaml --\nresources: [cm.yaml, d.yaml]" + cm + "-- d.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
			kustomize.ErrDuplicateObject,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := build(t, files(tc.tree), kustomize.Options{})
			g.Expect(errors.Is(err, tc.want)).To(BeTrue(), "%v", err)
			var be *kustomize.BuildError
			g.Expect(errors.As(err, &be)).To(BeTrue())
			t.Log(err)
		})
	}
}

func TestSchema(t *testing.T) {
	g := NewWithT(t)
	tree := files(`
-- kustomization.yaml --
openapi: {path: schema.json}
resources: [r.yaml]
patches: [{path: p.yaml}]
-- schema.json --
{"definitions":{"v1.Foo":{"type":"object","x-kubernetes-group-version-kind":[{"group":"example.com","kind":"Foo","version":"v1"}],
"properties":{"spec":{"type":"object","properties":{"list":{"type":"array","x-kubernetes-patch-merge-key":"name","x-kubernetes-patch-strategy":"merge",
"items":{"type":"object","properties":{"name":{"type":"string"},"v":{"type":"string"}}}}}}}}}}
-- r.yaml --
apiVersion: example.com/v1
kind: Foo
metadata: {name: a}
spec: {list: [{name: x, v: "1"}, {name: y, v: "2"}]}
-- p.yaml --
apiVersion: example.com/v1
kind: Foo
metadata: {name: a}
spec: {list: [{name: y, v: "3"}]}
`)
	res := mustBuild(t, tree, kustomize.Options{})
	g.Expect(res.Stats.Lane).To(BeTrue())
	g.Expect(text(t, res)).To(ContainSubstring("name: x"))
	g.Expect(text(t, res)).To(ContainSubstring("v: \"3\""))
}
