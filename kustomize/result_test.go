// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/kustomize"
)

const twoBases = `
-- top/kustomization.yaml --
resources: [../dev, ../prod, list.yaml]
secretGenerator:
- name: s
  literals: [a=b]
patches:
- target: {kind: ConfigMap, name: two}
  patch: '[{"op": "add", "path": "/data", "value": {"x": "y"}}]'
-- top/list.yaml --
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ServiceAccount
  metadata: {name: one}
- apiVersion: v1
  kind: ServiceAccount
  metadata: {name: two}
-- dev/kustomization.yaml --
namePrefix: dev-
resources: [../base]
-- prod/kustomization.yaml --
namePrefix: prod-
resources: [../base, own.yaml]
-- prod/own.yaml --
# comment

apiVersion: v1
kind: ConfigMap
metadata: {name: own}
-- base/kustomization.yaml --
resources: [multi.yaml]
configMapGenerator:
- name: first
- name: second
-- base/multi.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: one}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: two
`

// KZ-60, KZ-61: every object knows its file and line, whichever engine ran.
func TestProvenance(t *testing.T) {
	for _, engine := range []kustomize.Engine{kustomize.Indexed, kustomize.Krusty} {
		t.Run(engine.String(), func(t *testing.T) {
			g := NewWithT(t)
			res := mustBuild(t, files(twoBases), kustomize.Options{Dir: "top", Engine: engine})
			g.Expect(res.Stats.Engine).To(Equal(engine))
			var got []string
			for _, o := range res.Objects {
				name := o.GetName()
				if i := strings.LastIndexByte(name, '-'); o.Origin.Generator != "" && i > 0 {
					name = name[:i]
				}
				got = append(got, fmt.Sprintf("%s %s %d %s", name, res.Source(o.Unstructured), o.Origin.Doc, o.Origin.Generator))
			}
			g.Expect(got).To(Equal([]string{
				"dev-one base/multi.yaml:1 1 ", "dev-two base/multi.yaml:5 2 ", "dev-first base/kustomization.yaml:3 0 configMapGenerator", "dev-second base/kustomization.yaml:4 0 configMapGenerator",
				"prod-one base/multi.yaml:1 1 ", "prod-two base/multi.yaml:5 2 ", "prod-first base/kustomization.yaml:3 0 configMapGenerator", "prod-second base/kustomization.yaml:4 0 configMapGenerator",
				"prod-own prod/own.yaml:3 1 ", "one top/list.yaml:4 1 ", "two top/list.yaml:7 1 ", "s top/kustomization.yaml:3 0 secretGenerator",
			}))
			g.Expect(res.Source(res.Objects[0].DeepCopy())).To(Equal("base/multi.yaml:1"), "a copy is found by its identity")
			g.Expect(res.Source(nil)).To(BeEmpty())
			g.Expect(text(t, res)).NotTo(ContainSubstring("config.kubernetes.io"), "no internal annotation leaves the build")
		})
	}
}

// KZ-60: origin annotations come when they are asked for.
func TestOriginAnnotations(t *testing.T) {
	g := NewWithT(t)
	res := mustBuild(t, files(twoBases), kustomize.Options{Dir: "top", Spec: kustomize.Spec{BuildMetadata: []string{"originAnnotations"}}})
	g.Expect(res.Objects[0].GetAnnotations()).To(HaveKeyWithValue("config.kubernetes.io/origin", "path: ../base/multi.yaml\n"))
	g.Expect(res.Source(res.Objects[0].Unstructured)).To(Equal("base/multi.yaml:1"))
}

// KZ-90, KZ-91: hooks see original bytes once, and their output is what engines
// read, and nothing else is.
func TestFileHook(t *testing.T) {
	g := NewWithT(t)
	tree := files(`
-- kustomization.yaml --
resources: [enc.yaml, plain.yaml]
patches: [{path: patch.yaml}]
secretGenerator: [{name: s, files: [k=file.txt], envs: [env.txt]}]
configMapGenerator: [{name: c, files: [conf.txt]}]
-- enc.yaml --
apiVersion: v1
kind: Secret
metadata: {name: a}
stringData: {p: ENC}
sops: {mac: x}
-- plain.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
-- patch.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data: {p: ENC}
-- file.txt --
ENC
-- env.txt --
A=ENC
-- conf.txt --
ENC
`)
	var mu sync.Mutex
	seen := map[string]string{}
	hook := func(_ context.Context, f kustomize.HookFile) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if seen[f.Path] != "" {
			t.Errorf("%s was given twice", f.Path)
		}
		seen[f.Path] = string(f.Kind) + " " + f.Key
		if !bytes.Contains(f.Data, []byte("ENC")) {
			t.Errorf("%s is not original", f.Path)
		}
		out := bytes.ReplaceAll(f.Data, []byte("ENC"), []byte(canary))
		out, _, _ = bytes.Cut(out, []byte("sops:"))
		copy(f.Data, bytes.Repeat([]byte("!"), len(f.Data))) // a hook that misbehaves changes nothing
		return out, nil
	}
	for _, engine := range []kustomize.Engine{kustomize.Auto, kustomize.Krusty} {
		clear(seen)
		res := mustBuild(t, tree, kustomize.Options{Hooks: kustomize.Hooks{File: hook}, Engine: engine})
		g.Expect(seen).To(Equal(map[string]string{
			"enc.yaml": "Resource ", "patch.yaml": "Patch ", "file.txt": "SecretFile k", "env.txt": "SecretEnv ", "conf.txt": "ConfigFile conf.txt",
		}))
		out := text(t, res)
		g.Expect(strings.Count(out, canary)).To(Equal(3))
		g.Expect(out).NotTo(Or(ContainSubstring("ENC"), ContainSubstring("sops")))
		for _, in := range res.Inputs {
			g.Expect(in.String()).NotTo(ContainSubstring(canary))
		}
		plain, err := build(t, tree, kustomize.Options{Engine: engine})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(plain.Inputs).To(Equal(res.Inputs), "inputs are the original bytes")
	}
	failed := errors.New("no key")
	_, err := build(t, tree, kustomize.Options{Hooks: kustomize.Hooks{File: func(_ context.Context, f kustomize.HookFile) ([]byte, error) {
		if f.Path == "patch.yaml" {
			return nil, failed
		}
		return f.Data, nil
	}}})
	var be *kustomize.BuildError
	g.Expect(errors.Is(err, failed) && errors.As(err, &be)).To(BeTrue())
	g.Expect(be.File).To(Equal("patch.yaml"))
	g.Expect(be.Terminal()).To(BeFalse())
	_, err = build(t, tree, kustomize.Options{Limits: kustomize.Limits{File: 1000}, Hooks: kustomize.Hooks{File: func(context.Context, kustomize.HookFile) ([]byte, error) {
		return make([]byte, 1001), nil
	}}})
	expectLimit(g, err, "build-file")
}

// KZ-90: the object hook runs before substitution; false means unchanged.
func TestObjectHook(t *testing.T) {
	g := NewWithT(t)
	res := mustBuild(t, files("-- a.yaml --\n"+cm+"data: {x: old}\n-- b.yaml --\n"+strings.Replace(cm, "name: a", "name: b", 1)+"data: {x: old}\n"), kustomize.Options{
		Substitute: &kustomize.Substitution{Vars: values("V", "new")},
		Hooks: kustomize.Hooks{Object: func(_ context.Context, o kustomize.Object) (kustomize.Object, bool, error) {
			if o.GetName() == "b" {
				return kustomize.Object{}, false, nil
			}
			o.Unstructured = o.DeepCopy()
			o.Object["data"] = map[string]any{"x": "${V}"}
			return o, true, nil
		}},
	})
	g.Expect(res.Objects[0].Object["data"]).To(Equal(map[string]any{"x": "new"}))
	g.Expect(res.Objects[1].Object["data"]).To(Equal(map[string]any{"x": "old"}))
	g.Expect(res.Source(res.Objects[0].Unstructured)).To(Equal("a.yaml:1"))
}

// KZ-63: the digest changes with what the build reads and with nothing else.
func TestInputs(t *testing.T) {
	g := NewWithT(t)
	tree := func() fstest.MapFS {
		m := files(twoBases)
		m["unrelated.yaml"] = &fstest.MapFile{Data: []byte("x: y")}
		m["gen/x.yaml"] = &fstest.MapFile{Data: []byte(cm)}
		return m
	}
	o := kustomize.Options{Dir: "top"}
	b := kustomize.New(kustomize.BuilderOptions{})
	do := func(m fstest.MapFS, o kustomize.Options) *kustomize.Result {
		o.Root = m
		res, err := b.Build(t.Context(), o)
		g.Expect(err).NotTo(HaveOccurred())
		return res
	}
	same := func(m fstest.MapFS, o kustomize.Options, last *kustomize.Result) bool {
		o.Root = m
		ok, err := b.Unchanged(t.Context(), o, last)
		g.Expect(err).NotTo(HaveOccurred())
		return ok
	}
	base := do(tree(), o)
	g.Expect(do(tree(), o).Digest).To(Equal(base.Digest))
	g.Expect(same(tree(), o, base)).To(BeTrue())
	for _, in := range base.Inputs {
		if in.Kind != kustomize.InputFile {
			continue
		}
		m := tree()
		m[in.Path] = &fstest.MapFile{Data: append([]byte("# changed\n"), m[in.Path].Data...)}
		g.Expect(do(m, o).Digest).NotTo(Equal(base.Digest), in.Path)
		g.Expect(same(m, o, base)).To(BeFalse(), in.Path)
	}
	for _, in := range base.Inputs {
		if in.Kind == kustomize.InputAbsent {
			m := tree()
			m[in.Path] = &fstest.MapFile{Data: []byte("resources: []\n")}
			g.Expect(same(m, o, base)).To(BeFalse(), in.Path)
		}
	}
	m := tree()
	m["unrelated.yaml"].Data = []byte("z: z")
	m["base/other.yaml"] = &fstest.MapFile{Data: []byte("z: z")}
	g.Expect(do(m, o).Digest).To(Equal(base.Digest))
	g.Expect(same(m, o, base)).To(BeTrue())
	for name, other := range map[string]kustomize.Options{
		"dir": {Dir: "prod"}, "spec": {Dir: "top", Spec: kustomize.Spec{NamePrefix: "x"}}, "strict": {Dir: "top", Strict: true},
		"vars": {Dir: "top", Substitute: &kustomize.Substitution{Vars: values("A", "1")}},
	} {
		g.Expect(do(tree(), other).Digest).NotTo(Equal(base.Digest), name)
		g.Expect(same(tree(), other, base)).To(BeFalse(), name)
	}
	walked := do(tree(), kustomize.Options{Dir: "gen"})
	m = tree()
	m["gen/new.yaml"] = &fstest.MapFile{Data: []byte(strings.Replace(cm, "name: a", "name: n", 1))}
	g.Expect(do(m, kustomize.Options{Dir: "gen"}).Digest).NotTo(Equal(walked.Digest))
	g.Expect(same(m, kustomize.Options{Dir: "gen"}, walked)).To(BeFalse())
	failed, err := build(t, files("-- kustomization.yaml --\nresources: [a.yaml, b.yaml]\n-- a.yaml --\n"+cm), kustomize.Options{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(failed.Inputs).To(ContainElement(And(HaveField("Path", "b.yaml"), HaveField("Kind", kustomize.InputAbsent))))
}

// countFS counts opens per file.
type countFS struct {
	fstest.MapFS
	mu    *sync.Mutex
	opens map[string]int
}

func (c countFS) Open(name string) (f fsFile, err error) {
	c.mu.Lock()
	c.opens[name]++
	c.mu.Unlock()
	return c.MapFS.Open(name)
}

// KZ-21: each file is opened once, and Unchanged opens each once, too.
func TestReadOnce(t *testing.T) {
	g := NewWithT(t)
	for _, engine := range []kustomize.Engine{kustomize.Auto, kustomize.Krusty} {
		c := countFS{files(twoBases), &sync.Mutex{}, map[string]int{}}
		res := mustBuild(t, c, kustomize.Options{Dir: "top", Engine: engine})
		check := func() {
			for name, n := range c.opens {
				g.Expect(n).To(Equal(1), name)
			}
			g.Expect(c.opens).To(HaveLen(7))
		}
		check()
		clear(c.opens)
		ok, err := kustomize.New(kustomize.BuilderOptions{}).Unchanged(t.Context(), kustomize.Options{Root: c, Dir: "top"}, res)
		g.Expect(ok, err).To(BeTrue())
		check()
	}
}
