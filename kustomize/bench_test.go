// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gitops-kit/sdk/kustomize"
)

// wide is an overlay over n objects with the usual transformers.
func wide(n int) fstest.MapFS {
	tree := fstest.MapFS{}
	put := func(name, text string) { tree[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644} }
	var names []string
	for i := range n {
		name := fmt.Sprintf("o%d.yaml", i)
		names = append(names, name)
		switch i % 3 {
		case 0:
			put("base/"+name, fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: app-%d}
spec:
  selector: {matchLabels: {app: app-%d}}
  template:
    metadata: {labels: {app: app-%d}}
    spec:
      serviceAccountName: app-%d
      containers:
      - name: app
        image: example.com/app:1
        args: [--listen, ":8080"]
        envFrom: [{configMapRef: {name: app-%d}}]
        resources: {requests: {cpu: 100m, memory: 128Mi}}
`, i, i, i, i+2, i+1))
		case 1:
			put("base/"+name, fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app-%d}\ndata: {a: \"1\", url: \"https://${host}/x\"}\n", i))
		default:
			put("base/"+name, fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: app-%d}\n", i))
		}
	}
	put("base/kustomization.yaml", "resources:\n- "+strings.Join(names, "\n- ")+"\n")
	put("top/kustomization.yaml", `namespace: prod
namePrefix: blue-
resources: [../base]
labels: [{pairs: {team: core}, includeSelectors: true}]
images: [{name: example.com/app, newTag: "2"}]
patches:
- target: {kind: Deployment}
  patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: any}
    spec: {template: {spec: {containers: [{name: app, resources: {limits: {memory: 1Gi}}}]}}}
`)
	return tree
}

func benchmark(b *testing.B, n int, o kustomize.Options) {
	b.Helper()
	o.Root, o.Dir = wide(n), "top"
	builder := kustomize.New(kustomize.BuilderOptions{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := builder.Build(b.Context(), o); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOne(b *testing.B) { benchmark(b, 1, kustomize.Options{}) }
func BenchmarkThousand(b *testing.B) {
	benchmark(b, 1000, kustomize.Options{Engine: kustomize.Indexed})
}

func BenchmarkSubstituted(b *testing.B) {
	benchmark(b, 1000, kustomize.Options{
		Engine:     kustomize.Indexed,
		Substitute: &kustomize.Substitution{Vars: map[string]kustomize.Var{"host": {Value: "example.com"}}},
	})
}
