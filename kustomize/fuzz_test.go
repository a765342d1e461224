// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/gitops-kit/sdk/kustomize"
)

// seedsFrom adds the kustomizations and objects of the corpus.
func seedsFrom(f *testing.F, add func(kustomization, object string)) {
	f.Helper()
	list, err := filepath.Glob("testdata/corpus/*.txt")
	if err != nil || len(list) == 0 {
		f.Fatalf("no corpus: %v", err)
	}
	for _, name := range list {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for part := range strings.SplitSeq(string(data), "\n==== ") {
			_, tree, _ := strings.Cut(part, "\n")
			m := files(tree)
			for path, file := range m {
				if k := m["top/kustomization.yaml"]; k != nil && !strings.HasSuffix(path, "kustomization.yaml") {
					add(string(k.Data), string(file.Data))
				}
			}
		}
	}
}

// FuzzKustomization builds a foreign kustomization: no panic, nothing remote,
// and both engines agree.
func FuzzKustomization(f *testing.F) {
	seedsFrom(f, func(k, o string) { f.Add(k, o) })
	for _, k := range []string{"resources: [https://example.com/x]", "OpenAPI: {path: d.yaml}", "resources: [../../x]", "transformers: ['{apiVersion: builtin, kind: X, metadata: {name: x}}']"} {
		f.Add(k, cm)
	}
	f.Fuzz(func(t *testing.T, kustomization, object string) {
		tree := fstest.MapFS{}
		for name, text := range map[string]string{"kustomization.yaml": kustomization} {
			tree[name] = &fstest.MapFile{Data: []byte(text)}
		}
		for _, name := range []string{"d.yaml", "s.yaml", "c.yaml", "o.yaml", "p.yaml", "x.yaml"} {
			tree[name] = &fstest.MapFile{Data: []byte(object)}
		}
		lim := kustomize.Limits{Total: 1 << 20, Objects: 200}
		want, errWant := build(t, tree, kustomize.Options{Engine: kustomize.Krusty, Limits: lim})
		got, errGot := build(t, tree, kustomize.Options{Limits: lim})
		var pe *kustomize.PanicError
		if errors.As(errGot, &pe) && strings.Contains(string(pe.Stack), "gitops-kit/sdk/kustomize.(*indexed)") {
			t.Fatalf("panic: %v\n%s", pe, pe.Stack)
		}
		if (errWant == nil) != (errGot == nil) {
			t.Fatalf("krusty: %v, auto: %v", errWant, errGot)
		}
		if errWant == nil {
			if diff := cmp.Diff(text(t, want), text(t, got)); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// FuzzDocuments reads a foreign file: whatever passes the checks is what
// kustomize makes of it.
func FuzzDocuments(f *testing.F) {
	seedsFrom(f, func(_, o string) { f.Add(o) })
	for _, s := range []string{"a: &x [*x]", "--- a", "a: {b: 1, b: 2}", "\ufeffa: b", "a: !!binary x", "a: |+\n  b\n\n", "a: >-\n  x\n\n  y\n", "a: 1e400", "a: 0o17", "? [a]\n: b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		direct, slow, err := kustomize.JSONValue(s)
		if direct == nil {
			return
		}
		if err != nil {
			t.Fatalf("%q: kustomize refuses: %v", s, err)
		}
		if diff := cmp.Diff(slow, direct); diff != "" {
			t.Fatalf("%q: -engine +direct\n%s", s, diff)
		}
	})
}

// FuzzMerge merges foreign patches: what is merged here is what kyaml makes.
func FuzzMerge(f *testing.F) {
	const d = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: c, image: i}]}}}\n"
	f.Add(d, d)
	f.Add(d, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, labels: {x: y}}\nspec: {replicas: 1, template: {spec: {containers: [{name: d}]}}}\n")
	f.Add("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1}]}\n", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: null, x: {}}\n")
	f.Fuzz(func(t *testing.T, dest, patch string) {
		quick, slow, err := kustomize.Merges(dest, patch)
		if quick == nil {
			return
		}
		if err != nil {
			t.Fatalf("kyaml refuses: %v", err)
		}
		if diff := cmp.Diff(slow, quick); diff != "" {
			t.Fatalf("-kyaml +ours\n%s", diff)
		}
	})
}

// FuzzTyped replaces in foreign objects: if the input parses, so does the
// output, and keys stay.
func FuzzTyped(f *testing.F) {
	f.Add("a: ${A}\nb: x${A}y\n", "1e3")
	f.Add("s: |\n  ${A} $${A} ${B:-x}\n", "a: b\n- c")
	f.Fuzz(func(t *testing.T, body, value string) {
		head := "apiVersion: example.com/v1\nkind: Foo\nmetadata: {name: a}\nspec:\n"
		tree := fstest.MapFS{"a.yaml": {Data: []byte(head + "  " + strings.ReplaceAll(body, "\n", "\n  ") + "\n")}}
		plain, err := build(t, tree, kustomize.Options{})
		if err != nil {
			return
		}
		res, err := build(t, tree, kustomize.Options{Substitute: &kustomize.Substitution{Mode: kustomize.Typed, Vars: values("A", value)}})
		if err != nil {
			return
		}
		for i, u := range res.Unstructured() {
			y, err := sigsyaml.Marshal(u.Object)
			if err != nil {
				t.Fatal(err)
			}
			var back map[string]any
			if err := sigsyaml.Unmarshal(y, &back); err != nil {
				t.Fatalf("%s: %v", y, err)
			}
			if len(u.Object) != len(plain.Unstructured()[i].Object) {
				t.Fatalf("keys changed: %v", u.Object)
			}
		}
	})
}

// FuzzRemote parses foreign entries: a local path is never remote.
func FuzzRemote(f *testing.F) {
	for _, s := range []string{"https://example.com/x.yaml", "git@github.com:a/b//c?ref=d", "github.com/a/b", "./github.com/a/b", "../x", "git::ssh://h/a/b", "https://u:p@h/a/_git/b/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := kustomize.ParseRemote(s)
		if !ok {
			return
		}
		if strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") || strings.HasPrefix(s, "/") {
			t.Fatalf("%q is local, got %+v", s, r)
		}
		if r.URL == "" || strings.HasPrefix(r.Path, "..") || strings.HasPrefix(r.Path, "/") {
			t.Fatalf("%q: %+v", s, r)
		}
	})
}
