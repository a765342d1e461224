// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/kustomize"
)

const canary = "canary-4711"

const cm = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"

// onDisk writes a tree below a directory with a secret beside it.
func onDisk(t *testing.T, text string) (root *os.Root, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret.yaml"), []byte(strings.Replace(cm, "name: a", "name: "+canary, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(dir, "root")
	for name, f := range files(text) {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root, base
}

// N25, KZ-20: nothing outside the tree is read or named.
func TestPathEscape(t *testing.T) {
	cases := map[string]struct {
		tree string
		link map[string]string
		dir  string
	}{
		"Up":             {tree: "-- kustomization.yaml --\nresources: [../secret.yaml]\n"},
		"FarUp":          {tree: "-- kustomization.yaml --\nresources: [../../../../etc/passwd]\n"},
		"Absolute":       {tree: "-- kustomization.yaml --\nresources: [/etc/passwd]\n"},
		"LinkOut":        {tree: "-- kustomization.yaml --\nresources: [l.yaml]\n", link: map[string]string{"l.yaml": "../secret.yaml"}},
		"AbsoluteLink":   {tree: "-- kustomization.yaml --\nresources: [l.yaml]\n", link: map[string]string{"l.yaml": "/etc/passwd"}},
		"BehindLink":     {tree: "-- kustomization.yaml --\nresources: [l/secret.yaml]\n", link: map[string]string{"l": ".."}},
		"LinkedBase":     {tree: "-- kustomization.yaml --\nresources: [l]\n", link: map[string]string{"l": "../.."}},
		"Generator":      {tree: "-- kustomization.yaml --\nconfigMapGenerator: [{name: a, files: [/proc/self/environ]}]\n"},
		"GeneratorUp":    {tree: "-- kustomization.yaml --\nsecretGenerator: [{name: a, files: [k=../secret.yaml]}]\n"},
		"GeneratorLink":  {tree: "-- kustomization.yaml --\nconfigMapGenerator: [{name: a, envs: [l]}]\n", link: map[string]string{"l": "../secret.yaml"}},
		"Env":            {tree: "-- kustomization.yaml --\nconfigMapGenerator: [{name: a, env: ../secret.yaml}]\n"},
		"Patch":          {tree: "-- kustomization.yaml --\nresources: [a.yaml]\npatches: [{path: ../secret.yaml}]\n-- a.yaml --\n" + cm},
		"PatchOtherCase": {tree: "-- kustomization.yaml --\nresources: [a.yaml]\nPatches: [{Path: ../secret.yaml}]\n-- a.yaml --\n" + cm},
		"StrategicMerge": {tree: "-- kustomization.yaml --\nresources: [a.yaml]\npatchesStrategicMerge: [../secret.yaml]\n-- a.yaml --\n" + cm},
		"JSON6902":       {tree: "-- kustomization.yaml --\nresources: [a.yaml]\npatchesJson6902: [{target: {name: a, kind: ConfigMap, version: v1}, path: ../secret.yaml}]\n-- a.yaml --\n" + cm},
		"Replacement":    {tree: "-- kustomization.yaml --\nresources: [a.yaml]\nreplacements: [{path: ../secret.yaml}]\n-- a.yaml --\n" + cm},
		"CRD":            {tree: "-- kustomization.yaml --\nresources: [a.yaml]\ncrds: [../secret.yaml]\n-- a.yaml --\n" + cm},
		"Configuration":  {tree: "-- kustomization.yaml --\nresources: [a.yaml]\nconfigurations: [../secret.yaml]\n-- a.yaml --\n" + cm},
		"Schema":         {tree: "-- kustomization.yaml --\nresources: [a.yaml]\nopenapi: {path: ../secret.yaml}\n-- a.yaml --\n" + cm},
		"Component":      {tree: "-- kustomization.yaml --\nresources: [a.yaml]\ncomponents: [../..]\n-- a.yaml --\n" + cm},
		"Builtin": {tree: "-- kustomization.yaml --\nresources: [a.yaml]\ntransformers: [t.yaml]\n-- t.yaml --\napiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: t}\npath: ../secret.yaml\n-- a.yaml --\n" +
			cm},
		"BuiltinInline": {tree: "-- kustomization.yaml --\nresources: [a.yaml]\ngenerators:\n- |-\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {name: t}\n  files: [k=../secret.yaml]\n-- a.yaml --\n" + cm},
		"Dir":           {tree: "-- kustomization.yaml --\nresources: [a.yaml]\n-- a.yaml --\n" + cm, dir: "../"},
		"Generated":     {tree: "-- b.yaml --\n" + cm, link: map[string]string{"a.yaml": "../secret.yaml"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			root, base := onDisk(t, tc.tree)
			for from, to := range tc.link {
				g.Expect(os.Symlink(to, filepath.Join(base, from))).To(Succeed())
			}
			res, err := build(t, root.FS(), kustomize.Options{Dir: tc.dir})
			g.Expect(errors.Is(err, kustomize.ErrPathEscape)).To(BeTrue(), "%v", err)
			g.Expect(err.Error()).NotTo(Or(ContainSubstring(canary), ContainSubstring(filepath.Dir(base))))
			g.Expect(res.Objects).To(BeEmpty())
			var be *kustomize.BuildError
			g.Expect(errors.As(err, &be) && be.Terminal() && be.Reason() == "BuildFailed").To(BeTrue())
		})
	}
}

// C03, KZ-20: links and parents inside the tree work.
func TestLinksInside(t *testing.T) {
	g := NewWithT(t)
	root, base := onDisk(t, "-- top/kustomization.yaml --\nresources: [../link, ../shared/x.yaml]\n-- real/dir/kustomization.yaml --\nresources: [../a.yaml]\n-- real/a.yaml --\n"+cm+
		"-- shared/y.yaml --\n"+strings.Replace(cm, "name: a", "name: y", 1))
	g.Expect(os.Symlink("real/dir", filepath.Join(base, "link"))).To(Succeed())
	g.Expect(os.Symlink("y.yaml", filepath.Join(base, "shared", "x.yaml"))).To(Succeed())
	for _, engine := range []kustomize.Engine{kustomize.Auto, kustomize.Krusty} {
		res, err := build(t, root.FS(), kustomize.Options{Dir: "top", Engine: engine})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Objects).To(HaveLen(2))
	}
}

// KZ-20: what is no file is not opened.
func TestFIFO(t *testing.T) {
	g := NewWithT(t)
	root, base := onDisk(t, "-- kustomization.yaml --\nresources: [pipe.yaml]\n")
	g.Expect(syscall.Mkfifo(filepath.Join(base, "pipe.yaml"), 0o600)).To(Succeed())
	_, err := build(t, root.FS(), kustomize.Options{})
	g.Expect(errors.Is(err, kustomize.ErrInvalid)).To(BeTrue(), "%v", err)
}

// noNetwork fails the test if anything talks HTTP through the default transport
// or starts git.
func noNetwork(t *testing.T) {
	t.Helper()
	old := http.DefaultTransport
	var calls atomic.Int64
	http.DefaultTransport = roundTripper(func(*http.Request) (*http.Response, error) {
		calls.Add(1)
		return nil, errors.New("no network in this test")
	})
	bin := t.TempDir()
	ran := filepath.Join(bin, "ran")
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte("#!/bin/sh\ntouch "+ran+"\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	t.Cleanup(func() {
		http.DefaultTransport = old
		if calls.Load() != 0 {
			t.Errorf("%d requests were sent", calls.Load())
		}
		if _, err := os.Stat(ran); !errors.Is(err, fs.ErrNotExist) {
			t.Error("git was started")
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// KZ-22, KZ-23, KZ-24: every remote form in every field is refused before
// anything is contacted.
func TestRemoteRefused(t *testing.T) {
	noNetwork(t)
	forms := []string{
		"https://example.com/x.yaml", "http://example.com/x.yaml", "https://example.com/org/repo.git", "https://example.com/org/repo//path?ref=v1",
		"git::https://example.com/org/repo.git//path", "ssh://git@example.com/org/repo", "git@example.com:org/repo", "github.com/org/repo/path",
		"HTTPS://EXAMPLE.COM/X.yaml", "https://dev.azure.com/org/project/_git/repo/path", "https://user:" + canary + "@example.com/org/repo.git",
		"GitHub.com/org/repo", "git@github.com:org/repo.git//a?ref=main&timeout=5s&submodules=false",
	}
	fields := map[string]string{
		"resources": "resources: [%q]", "bases": "bases: [%q]", "components": "resources: [a.yaml]\ncomponents: [%q]",
		"generators": "resources: [a.yaml]\ngenerators: [%q]", "transformers": "resources: [a.yaml]\ntransformers: [%q]", "validators": "resources: [a.yaml]\nvalidators: [%q]",
		"alias": "namePrefix: &x %q\nresources: [*x]", "case": "Resources: [%q]",
		"nested": "resources: [nested]",
	}
	httpFields := map[string]string{
		"crds": "resources: [a.yaml]\ncrds: [%q]", "configurations": "resources: [a.yaml]\nconfigurations: [%q]", "patches": "resources: [a.yaml]\npatches: [{path: %q}]",
		"sm": "resources: [a.yaml]\npatchesStrategicMerge: [%q]", "json": "resources: [a.yaml]\npatchesJson6902: [{target: {name: a}, path: %q}]",
		"replacements": "resources: [a.yaml]\nreplacements: [{path: %q}]", "openapi": "resources: [a.yaml]\nopenapi: {path: %q}",
		"files": "configMapGenerator: [{name: x, files: [%q]}]", "keyed": "secretGenerator: [{name: x, files: [\"k=%s\"]}]", "envs": "configMapGenerator: [{name: x, envs: [%q]}]", "env": "secretGenerator: [{name: x, env: %q}]",
		"builtin":       "resources: [a.yaml]\ntransformers:\n- |-\n  apiVersion: builtin\n  kind: PatchTransformer\n  metadata: {name: p}\n  path: %q",
		"builtinPaths":  "resources: [a.yaml]\ntransformers:\n- |-\n  apiVersion: builtin\n  kind: PatchStrategicMergeTransformer\n  metadata: {name: p}\n  paths: [%q]",
		"builtinTarget": "resources: [a.yaml]\ntransformers:\n- |-\n  apiVersion: builtin\n  kind: ValueAddTransformer\n  metadata: {name: p}\n  targetFilePath: %q",
		"builtinRepl":   "resources: [a.yaml]\ntransformers:\n- |-\n  apiVersion: builtin\n  kind: ReplacementTransformer\n  metadata: {name: p}\n  replacements: [{path: %q}]",
	}
	check := func(name, form, text string) {
		t.Helper()
		tree := files("-- kustomization.yaml --\n" + strings.NewReplacer("%q", fmt.Sprintf("%q", form), "%s", form).Replace(text) + "\n-- a.yaml --\n" + cm + "-- nested/kustomization.yaml --\nresources: [" + fmt.Sprintf("%q", form) + "]\n")
		_, err := build(t, tree, kustomize.Options{})
		if !errors.Is(err, kustomize.ErrRemote) {
			t.Errorf("%s %s: %v", name, form, err)
			return
		}
		var be *kustomize.BuildError
		if !errors.As(err, &be) || be.File == "" || be.Line == 0 || strings.Contains(err.Error(), canary) {
			t.Errorf("%s %s: %v", name, form, err)
		}
	}
	for _, form := range forms {
		for name, text := range fields {
			check(name, form, text)
		}
		if strings.HasPrefix(strings.ToLower(form), "http") {
			for name, text := range httpFields {
				if (name == "files" || name == "keyed") && strings.Contains(form, "=") {
					continue // key=path
				}
				check(name, form, text)
			}
		}
	}
}

// KZ-22: a local directory is local whatever it is called.
func TestLocalLooksRemote(t *testing.T) {
	noNetwork(t)
	g := NewWithT(t)
	tree := files("-- kustomization.yaml --\nresources: [github.com/x/y, \"https:/a.yaml\"]\n-- github.com/x/y/kustomization.yaml --\nresources: [a.yaml]\n-- github.com/x/y/a.yaml --\n" + cm + "-- https:/a.yaml --\n" + strings.Replace(cm, "name: a", "name: b", 1))
	for _, engine := range []kustomize.Engine{kustomize.Auto, kustomize.Krusty} {
		g.Expect(mustBuild(t, tree, kustomize.Options{Engine: engine}).Objects).To(HaveLen(2))
	}
}

// KZ-23: with a function each entry is fetched once, and its tree is a cage.
func TestRemoteFunc(t *testing.T) {
	noNetwork(t)
	g := NewWithT(t)
	var calls []string
	remote := func(_ context.Context, r kustomize.Remote) (fs.FS, string, error) {
		calls = append(calls, fmt.Sprintf("%s %s %s %s", r.Kind, r.URL, r.Ref, r.Path))
		switch {
		case r.Kind == kustomize.RemoteFile:
			return files("-- x.yaml --\n" + strings.Replace(cm, "name: a", "name: file", 1)), "x.yaml", nil
		case strings.Contains(r.URL, "escape"):
			return files("-- d/kustomization.yaml --\nresources: [../../../r/a.yaml]\n"), "d", nil
		case strings.Contains(r.URL, "nested"):
			return files("-- kustomization.yaml --\nresources: [\"https://example.com/org/inner.git//deep?ref=v2\"]\n"), ".", nil
		}
		return files("-- deep/kustomization.yaml --\nresources: [../base]\n-- base/kustomization.yaml --\nresources: [i.yaml]\n-- base/i.yaml --\n" + strings.Replace(cm, "name: a", "name: inner", 1)), "deep", nil
	}
	tree := files("-- kustomization.yaml --\nresources: [a.yaml, \"https://example.com/x.yaml\", github.com/org/nested]\npatches: [{path: \"https://example.com/x.yaml\"}]\n-- a.yaml --\n" + cm)
	for _, engine := range []kustomize.Engine{kustomize.Auto, kustomize.Krusty} {
		calls = nil
		res, err := build(t, tree, kustomize.Options{Remote: remote, Engine: engine})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Objects).To(HaveLen(3))
		g.Expect(calls).To(Equal([]string{
			"file https://example.com/x.yaml  ", "git https://github.com/org/nested  ", "git https://example.com/org/inner.git v2 deep",
		}))
		g.Expect(res.Source(res.Objects[2].Unstructured)).To(Equal("https://example.com/org/inner.git?ref=v2//base/i.yaml:1"))
	}
	noted := mustBuild(t, tree, kustomize.Options{Remote: remote, Spec: kustomize.Spec{BuildMetadata: []string{"originAnnotations"}}})
	g.Expect(noted.Objects[0].GetAnnotations()).To(HaveKeyWithValue("config.kubernetes.io/origin", "path: a.yaml\n"))
	g.Expect(noted.Objects[2].GetAnnotations()).To(HaveKeyWithValue("config.kubernetes.io/origin", "path: base/i.yaml\nrepo: https://example.com/org/inner.git\nref: v2\n"))
	_, err := build(t, files("-- kustomization.yaml --\nresources: [github.com/org/escape]\n-- a.yaml --\n"+cm), kustomize.Options{Remote: remote})
	g.Expect(errors.Is(err, kustomize.ErrPathEscape)).To(BeTrue(), "%v", err)
	broken := errors.New("server is down")
	_, err = build(t, tree, kustomize.Options{Remote: func(context.Context, kustomize.Remote) (fs.FS, string, error) { return nil, "", broken }})
	var be *kustomize.BuildError
	g.Expect(errors.Is(err, broken) && errors.As(err, &be) && !be.Terminal()).To(BeTrue(), "%v", err)
}

// KZ-23: remote entries of remote entries end.
func TestRemoteLimits(t *testing.T) {
	g := NewWithT(t)
	loop := func(_ context.Context, r kustomize.Remote) (fs.FS, string, error) {
		return files("-- kustomization.yaml --\nresources: [\"" + r.URL + "x\"]\n"), ".", nil
	}
	_, err := build(t, files("-- kustomization.yaml --\nresources: [github.com/a/b]\n"), kustomize.Options{Remote: loop})
	expectLimit(g, err, "remote-depth")
	var list []string
	for i := range 21 {
		list = append(list, fmt.Sprintf("github.com/a/b%d", i))
	}
	leaf := func(_ context.Context, r kustomize.Remote) (fs.FS, string, error) {
		return files("-- a.yaml --\n" + strings.Replace(cm, "name: a", "name: "+r.URL[len(r.URL)-2:], 1)), "a.yaml", nil
	}
	_, err = build(t, files("-- kustomization.yaml --\nresources: ["+strings.Join(list, ", ")+"]\n"), kustomize.Options{Remote: leaf})
	expectLimit(g, err, "build-remotes")
}

func expectLimit(g Gomega, err error, name string) {
	var le *kustomize.LimitError
	g.Expect(errors.As(err, &le)).To(BeTrue(), "%v", err)
	g.Expect(le.Name).To(Equal(name))
	g.Expect(errors.Is(err, kustomize.ErrLimit)).To(BeTrue())
}

// KZ-25: nothing runs.
func TestForbidden(t *testing.T) {
	noNetwork(t)
	builtin := "apiVersion: %s\nkind: %s\nmetadata: {name: x%s}\n"
	plugin := func(apiVersion, kind, meta string) string { return fmt.Sprintf(builtin, apiVersion, kind, meta) }
	cases := map[string]string{
		"HelmCharts":   "helmCharts: [{name: x, repo: \"https://example.com\"}]",
		"HelmGlobals":  "helmGlobals: {chartHome: x}\nresources: [a.yaml]",
		"HelmInflator": "helmChartInflationGenerator: [{chartName: x}]",
		"OtherCase":    "HELMCHARTS: [{name: x}]",
		"Exec":         "generators: [p.yaml]\n-- p.yaml --\n" + plugin("example.com/v1", "Gen", ""),
		"Function":     "resources: [a.yaml]\ntransformers: [p.yaml]\n-- p.yaml --\n" + plugin("builtin", "PrefixTransformer", ", annotations: {config.kubernetes.io/function: \"container: {image: x}\"}"),
		"Validator":    "resources: [a.yaml]\nvalidators: [p.yaml]\n-- p.yaml --\n" + plugin("example.com/v1", "V", ""),
		"Inline":       "generators:\n- |-\n  apiVersion: example.com/v1\n  kind: Gen\n  metadata: {name: x}",
		"BuiltinHelm":  "generators: [p.yaml]\n-- p.yaml --\n" + plugin("builtin", "HelmChartInflationGenerator", ""),
		"InList":       "generators: [p.yaml]\n-- p.yaml --\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: example.com/v1, kind: Gen, metadata: {name: x}}",
		"Directory":    "generators: [g]\n-- g/kustomization.yaml --\nresources: [p.yaml]\n-- g/p.yaml --\n" + plugin("example.com/v1", "Gen", ""),
		"DirectoryPatches": "resources: [a.yaml]\ntransformers: [g]\n-- g/kustomization.yaml --\nresources: [p.yaml]\npatches: [{patch: \"[{op: add, path: /path, value: http://example.com/x}]\", target: {name: x}}]\n-- g/p.yaml --\n" +
			plugin("builtin", "PatchTransformer", ""),
		"FileURL": "resources: [\"file:///etc/passwd\"]",
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			head, rest, _ := strings.Cut(text, "\n-- ")
			if rest != "" {
				rest = "-- " + rest + "\n"
			}
			_, err := build(t, files("-- kustomization.yaml --\n"+head+"\n-- a.yaml --\n"+cm+rest), kustomize.Options{})
			g.Expect(errors.Is(err, kustomize.ErrForbidden)).To(BeTrue(), "%v", err)
		})
	}
}

// KZ-9: the tree is only read.
func TestReadOnly(t *testing.T) {
	g := NewWithT(t)
	tree := files(overlay)
	before := fmt.Sprint(tree)
	contents := map[string]string{}
	for name, f := range tree {
		contents[name] = string(f.Data)
	}
	for range 2 {
		mustBuild(t, tree, kustomize.Options{Dir: "prod", Spec: kustomize.Spec{TargetNamespace: "x"}})
	}
	g.Expect(fmt.Sprint(tree)).To(Equal(before))
	for name, f := range tree {
		g.Expect(string(f.Data)).To(Equal(contents[name]))
	}
}
