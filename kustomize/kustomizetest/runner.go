// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomizetest

import (
	"bytes"
	"errors"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/gitops-kit/sdk/kustomize"
)

const schema = `{"definitions":{"v1.Widget":{"type":"object",
"x-kubernetes-group-version-kind":[{"group":"test.example","kind":"Widget","version":"v1"}],
"properties":{"spec":{"type":"object","properties":{"parts":{"type":"array","x-kubernetes-patch-merge-key":"name",
"x-kubernetes-patch-strategy":"merge","items":{"type":"object","properties":{"name":{"type":"string"},"size":{"type":"integer"}}}}}}}}}}`

const widget = "apiVersion: test.example/v1\nkind: Widget\nmetadata: {name: w}\nspec: {parts: [{name: a, size: 1}, {name: b, size: 2}]}\n"

const patch = "apiVersion: test.example/v1\nkind: Widget\nmetadata: {name: w}\nspec: {parts: [{name: b, size: 3}]}\n"

const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: x}]}\n"

const podPatch = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: b, image: y}]}\n"

// trees are kustomizations that bring a schema in different places.
func trees() map[string]fstest.MapFS {
	out := map[string]fstest.MapFS{}
	for name, extra := range map[string]map[string]string{
		"root": {"top/kustomization.yaml": "openapi: {path: ../schema.json}\nresources: [../widget.yaml, ../pod.yaml]\npatches: [{path: ../patch.yaml}, {path: ../podpatch.yaml}]\n"},
		"base": {
			"top/kustomization.yaml":  "resources: [../base]\nnamePrefix: top-\npatches: [{path: ../patch.yaml}]\n",
			"base/kustomization.yaml": "openapi: {path: ../schema.json}\nresources: [../widget.yaml]\nconfigMapGenerator: [{name: c, literals: [a=b]}]\n",
		},
		"component": {
			"top/kustomization.yaml":  "resources: [../widget.yaml]\ncomponents: [../part]\npatches: [{path: ../patch.yaml}]\n",
			"part/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nopenapi: {path: ../schema.json}\nnameSuffix: -x\n",
		},
	} {
		tree := fstest.MapFS{}
		for file, text := range map[string]string{"schema.json": schema, "widget.yaml": widget, "patch.yaml": patch, "pod.yaml": pod, "podpatch.yaml": podPatch} {
			tree[file] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
		}
		for file, text := range extra {
			tree[file] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
		}
		out[name] = tree
	}
	return out
}

// RunSchemaRunner fails t unless the runner gives what this process gives, in
// both schema modes, and returns an error for a tree that cannot be built.
// newRunner is called for each case.
func RunSchemaRunner(t *testing.T, newRunner func(tb testing.TB) kustomize.SchemaRunner) {
	t.Helper()
	inside := kustomize.New(kustomize.BuilderOptions{})
	for name, tree := range trees() {
		for mode, schema := range map[string]kustomize.SchemaMode{"add": kustomize.SchemaAdd, "replace": kustomize.SchemaReplace} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				o := kustomize.Options{Root: tree, Dir: "top", Schema: schema}
				want, err := inside.Build(t.Context(), o)
				if err != nil {
					t.Fatalf("build here: %v", err)
				}
				got, err := kustomize.New(kustomize.BuilderOptions{SchemaRunner: newRunner(t)}).Build(t.Context(), o)
				if err != nil {
					t.Fatalf("build with the runner: %v", err)
				}
				if diff := cmp.Diff(render(t, want), render(t, got)); diff != "" {
					t.Errorf("objects differ, -here +runner:\n%s", diff)
				}
			})
		}
	}
	t.Run("error", func(t *testing.T) {
		tree := trees()["root"]
		tree["patch.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: test.example/v1\nkind: Widget\nmetadata: {name: none}\n"), Mode: 0o644}
		b := kustomize.New(kustomize.BuilderOptions{SchemaRunner: newRunner(t)})
		res, err := b.Build(t.Context(), kustomize.Options{Root: tree, Dir: "top"})
		if _, ok := errors.AsType[*kustomize.BuildError](err); !ok {
			t.Errorf("got %v, want a *kustomize.BuildError", err)
		}
		if len(res.Objects) != 0 {
			t.Errorf("got %d objects next to an error", len(res.Objects))
		}
	})
}

func render(tb testing.TB, res *kustomize.Result) string {
	tb.Helper()
	var b bytes.Buffer
	for _, u := range res.Unstructured() {
		y, err := sigsyaml.Marshal(u.Object)
		if err != nil {
			tb.Fatal(err)
		}
		b.WriteString("---\n")
		b.Write(y)
	}
	return b.String()
}
