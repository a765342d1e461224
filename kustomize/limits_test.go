// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/kustomize"
)

// N37, N38: hostile YAML is a typed error, cheaply.
func TestHostileYAML(t *testing.T) {
	var laughs strings.Builder
	laughs.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\na0: &a0 [lol, lol]\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&laughs, "a%d: &a%d [*a%d, *a%d, *a%d]\n", i, i, i-1, i-1, i-1)
	}
	bomb := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nx: &x " + strings.Repeat("y", 64<<10) + "\nz: [" + strings.Repeat("*x, ", 2000) + "]\n"
	head := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	cases := map[string]struct {
		text, limit string
		line        int
	}{
		"Bomb":         {text: bomb, limit: "doc-expanded"},
		"Laughs":       {text: laughs.String(), limit: "doc-expanded"},
		"FlowDepth":    {text: head + "d: " + strings.Repeat("[", 9999) + strings.Repeat("]", 9999) + "\n", limit: "yaml-depth"},
		"Documents":    {text: strings.Repeat("---\n", 200_000), limit: "docs"},
		"SelfAnchor":   {text: head + "d: &x [*x]\n", line: 4},
		"MergeLoop":    {text: head + "d: &x {<<: *x}\n", line: 4},
		"Duplicate":    {text: head + "d: {a: 1, b: 2, a: 3}\n", line: 4},
		"DuplicateTop": {text: head + "kind: Secret\n", line: 4},
		"NUL":          {text: head + "d: \"a\x00b\"\n"},
		"UTF8":         {text: head + "d: \"a\xffb\"\n"},
		"UTF16":        {text: string([]byte{0xff, 0xfe, 'a', 0, ':', 0, ' ', 0, '1', 0, '\n', 0})},
		"Binary":       {text: head + "d: !!binary aGk=\n", line: 4},
		"Tag":          {text: head + "d: !ruby/object x\n", line: 4},
		"Separator":    {text: head + "--- a: b\n" + head, line: 4},
		"List":         {text: "- a\n- b\n", line: 1},
		"NoKind":       {text: "apiVersion: v1\nmetadata: {name: a}\n", line: 1},
		"NoVersion":    {text: "kind: ConfigMap\nmetadata: {name: a}\n", line: 1},
		"GenerateName": {text: "apiVersion: v1\nkind: Job\nmetadata: {generateName: a-}\n", line: 1},
		"Third":        {text: head + "---\n" + strings.Replace(head, "name: a", "name: b", 1) + "---\n" + "apiVersion: v1\nkind: ConfigMap\n", line: 9},
	}
	for name, tc := range cases {
		for _, where := range []string{"resource", "patch", "inline", "generated"} {
			t.Run(name+"/"+where, func(t *testing.T) {
				if where != "resource" && where != "generated" && (tc.limit == "" && tc.line == 1 || name == "Third" || name == "DuplicateTop") {
					t.Skip("legal in a patch")
				}
				g := NewWithT(t)
				tree := fstest.MapFS{"a.yaml": {Data: []byte(head), Mode: 0o644}}
				put := func(name, text string) { tree[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644} }
				switch where {
				case "resource":
					put("kustomization.yaml", "resources: [x.yaml]\n")
					put("x.yaml", tc.text)
				case "patch":
					put("kustomization.yaml", "resources: [a.yaml]\npatches: [{path: x.yaml}]\n")
					put("x.yaml", tc.text)
				case "inline":
					if !utf8.ValidString(tc.text) || strings.Contains(tc.text, "\x00") || tc.limit != "" && len(tc.text) > 200_000 {
						t.Skip("not text")
					}
					put("kustomization.yaml", "resources: [a.yaml]\npatches:\n- patch: |\n    "+strings.ReplaceAll(tc.text, "\n", "\n    ")+"\n")
				default:
					put("a.yaml", tc.text)
				}
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				res, err := build(t, tree, kustomize.Options{})
				runtime.ReadMemStats(&after)
				g.Expect(err).To(HaveOccurred())
				g.Expect(res.Objects).To(BeEmpty())
				g.Expect(int64(after.HeapInuse) - int64(before.HeapInuse)).To(BeNumerically("<", 64<<20))
				if tc.limit != "" {
					expectLimit(g, err, tc.limit)
				} else {
					g.Expect(errors.Is(err, kustomize.ErrInvalid)).To(BeTrue(), "%v", err)
				}
				var be *kustomize.BuildError
				g.Expect(errors.As(err, &be) && be.Terminal()).To(BeTrue())
				if where == "resource" {
					g.Expect(be.File).To(Equal("x.yaml"))
					if tc.line > 0 {
						g.Expect(be.Line).To(Equal(tc.line), "%v", err)
					}
				}
			})
		}
	}
}

// C14: anchors, merge keys, a mark and CRLF are legal.
func TestLegalYAML(t *testing.T) {
	g := NewWithT(t)
	for _, engine := range []kustomize.Engine{kustomize.Auto, kustomize.Krusty} {
		res := mustBuild(t, files("-- a.yaml --\n\ufeffapiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: a}\r\nx: &x {a: b}\r\ny: {<<: *x, c: d}\r\nz: ["+strings.Repeat("*x, ", 200)+"]\r\n---\r\n# empty\r\n---\r\napiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: b}\r\nd: !!str 1\r\n"), kustomize.Options{Engine: engine})
		g.Expect(res.Objects).To(HaveLen(2))
		g.Expect(res.Unstructured()[0].Object["y"]).To(Equal(map[string]any{"a": "b", "c": "d"}))
		g.Expect(res.Unstructured()[1].Object["d"]).To(Equal("1"))
		g.Expect(res.Source(res.Unstructured()[1])).To(Equal("a.yaml:10"))
	}
}

// C04: each limit admits its own value and refuses one more.
func TestLimits(t *testing.T) {
	tree := files("-- kustomization.yaml --\nresources: [a.yaml, b]\ncomponents: [c]\npatches: [{patch: '[{\"op\": \"add\", \"path\": \"/data\", \"value\": {\"k\": \"v\"}}]', target: {kind: ConfigMap}}]\n-- a.yaml --\n" + cm +
		"-- b/kustomization.yaml --\nresources: [b.yaml]\n-- b/b.yaml --\n" + strings.Replace(cm, "name: a", "name: b", 1) +
		"-- c/kustomization.yaml --\napiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: c-\n")
	size, total := int64(0), int64(0)
	for _, f := range tree {
		size, total = max(size, int64(len(f.Data))), total+int64(len(f.Data))
	}
	for name, tc := range map[string]struct {
		ok, fail kustomize.Limits
	}{
		"build-file":       {kustomize.Limits{File: size}, kustomize.Limits{File: size - 1}},
		"build-files":      {kustomize.Limits{Files: 5}, kustomize.Limits{Files: 4}},
		"build-total":      {kustomize.Limits{Total: total}, kustomize.Limits{Total: total - 1}},
		"base-depth":       {kustomize.Limits{BaseDepth: 1}, kustomize.Limits{BaseDepth: -0 + 1 - 1 - 0}},
		"docs":             {kustomize.Limits{Docs: 3}, kustomize.Limits{Docs: 1}},
		"objects":          {kustomize.Limits{Objects: 2}, kustomize.Limits{Objects: 1}},
		"yaml-depth":       {kustomize.Limits{Depth: 8}, kustomize.Limits{Depth: 2}},
		"build-components": {kustomize.Limits{Components: 1}, kustomize.Limits{}},
		"build-patches":    {kustomize.Limits{Patches: 1}, kustomize.Limits{}},
		"json-patch-path":  {kustomize.Limits{PatchPath: 5}, kustomize.Limits{PatchPath: 4}},
		"doc-expanded":     {kustomize.Limits{DocExpanded: 1000}, kustomize.Limits{DocExpanded: 20}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := build(t, tree, kustomize.Options{Limits: tc.ok})
			g.Expect(err).NotTo(HaveOccurred())
			if tc.fail == (kustomize.Limits{}) {
				return
			}
			_, err = build(t, tree, kustomize.Options{Limits: tc.fail})
			expectLimit(g, err, name)
		})
	}
	g := NewWithT(t)
	g.Expect(kustomize.Limits{File: -1, Docs: -1}.Unlimited()).To(Equal([]string{"file", "docs"}))
	_, err := build(t, tree, kustomize.Options{Limits: kustomize.Limits{File: -1, Files: -1, Total: -1, Docs: -1, Objects: -1, Depth: -1, DocExpanded: -1}})
	g.Expect(err).NotTo(HaveOccurred())
}

// KZ-27, CVE-2022-24878: depth, cycles, and trees that multiply end before an
// engine starts.
func TestRecursion(t *testing.T) {
	g := NewWithT(t)
	_, err := build(t, files("-- kustomization.yaml --\nresources: [.]\n"), kustomize.Options{})
	g.Expect(errors.Is(err, kustomize.ErrInvalid)).To(BeTrue(), "%v", err)
	_, err = build(t, files("-- a/kustomization.yaml --\nresources: [../b]\n-- b/kustomization.yaml --\nresources: [../a]\n"), kustomize.Options{Dir: "a"})
	g.Expect(err).To(MatchError(ContainSubstring("cycle detected")))
	deep, wide := fstest.MapFS{}, fstest.MapFS{}
	for i := range 70 {
		deep[fmt.Sprintf("d%d/kustomization.yaml", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "resources: [../d%d]\n", i+1)}
		wide[fmt.Sprintf("d%d/kustomization.yaml", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "resources: [../d%d, ../d%d]\nnamePrefix: x\n", i+1, i+2)}
	}
	for _, tree := range []fstest.MapFS{deep, wide} {
		tree["d70/kustomization.yaml"] = &fstest.MapFile{Data: []byte("resources: [a.yaml]\n")}
		tree["d71/kustomization.yaml"] = tree["d70/kustomization.yaml"]
		tree["d70/a.yaml"] = &fstest.MapFile{Data: []byte(cm)}
		tree["d71/a.yaml"] = &fstest.MapFile{Data: []byte(cm)}
	}
	_, err = build(t, deep, kustomize.Options{Dir: "d0"})
	expectLimit(g, err, "base-depth")
	_, err = build(t, deep, kustomize.Options{Dir: "d7"})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = build(t, wide, kustomize.Options{Dir: "d30"})
	expectLimit(g, err, "objects")
}

// JSON patches can neither grow an object without bound nor address far away.
func TestJSONPatchLimits(t *testing.T) {
	g := NewWithT(t)
	tree := func(ops string) fstest.MapFS {
		return files("-- kustomization.yaml --\nresources: [a.yaml]\npatches:\n- target: {kind: ConfigMap}\n  patch: |-\n    " + strings.ReplaceAll(ops, "\n", "\n    ") + "\n-- a.yaml --\n" + cm)
	}
	_, err := build(t, tree("- {op: add, path: /data/70000, value: x}"), kustomize.Options{})
	expectLimit(g, err, "json-patch-index")
	_, err = build(t, tree("- {op: add, path: /"+strings.Repeat("x", 1024)+", value: x}"), kustomize.Options{})
	expectLimit(g, err, "json-patch-path")
	_, err = build(t, tree(strings.TrimSuffix(strings.Repeat("- {op: copy, from: /metadata, path: /metadata/x}\n", 40), "\n")), kustomize.Options{})
	expectLimit(g, err, "json-patch-copies")
}

// slowFS blocks reads until its channel is closed.
type slowFS struct {
	fs.FS
	blocked chan struct{}
	release chan struct{}
}

func (s slowFS) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, "slow.yaml") {
		close(s.blocked)
		<-s.release
	}
	return s.FS.Open(name)
}

// KZ-46: a build that outlives its deadline returns, is counted, and delays
// nobody.
func TestAbandoned(t *testing.T) {
	g := NewWithT(t)
	s := slowFS{files("-- kustomization.yaml --\nresources: [slow.yaml]\n-- slow.yaml --\n" + cm), make(chan struct{}), make(chan struct{})}
	b := kustomize.New(kustomize.BuilderOptions{Parallel: 1, SchemaWait: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-s.blocked
		cancel()
	}()
	res, err := b.Build(ctx, kustomize.Options{Root: s})
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
	g.Expect(res).NotTo(BeNil())
	g.Expect(b.Stats().Abandoned).To(Equal(int64(1)))
	for _, tree := range []string{"plain patch", "own schema"} {
		_, err = b.Build(t.Context(), kustomize.Options{Root: isolationTrees()[tree]})
		g.Expect(err).NotTo(HaveOccurred())
	}
	close(s.release)

	s = slowFS{s.FS, make(chan struct{}), make(chan struct{})}
	_, err = b.Build(t.Context(), kustomize.Options{Root: s, Limits: kustomize.Limits{Time: 20 * time.Millisecond}})
	expectLimit(g, err, "build-time")
	g.Expect(errors.Is(err, context.DeadlineExceeded)).To(BeTrue())
	var soft interface{ Terminal() bool }
	g.Expect(errors.As(err, &soft) && !soft.Terminal()).To(BeTrue())
	close(s.release)
}

// KZ-27: a panic in a hook is an error of the build.
func TestPanic(t *testing.T) {
	g := NewWithT(t)
	_, err := build(t, files("-- a.yaml --\n"+cm), kustomize.Options{Hooks: kustomize.Hooks{
		Object: func(context.Context, kustomize.Object) (kustomize.Object, bool, error) { panic("boom") },
	}})
	var pe *kustomize.PanicError
	g.Expect(errors.As(err, &pe)).To(BeTrue())
	g.Expect(pe.Stack).NotTo(BeEmpty())
	g.Expect(pe.Reason()).To(Equal("BuildFailed"))
}

// N37, N38: a duplicate key in a kustomization hides nothing behind it.
func TestBombBehindDuplicate(t *testing.T) {
	g := NewWithT(t)
	bomb := "x: 1\nx: 2\ny: &y " + strings.Repeat("z", 64<<10) + "\nq: [" + strings.Repeat("*y, ", 2000) + "]\nresources: [a.yaml]\n"
	for _, tree := range []string{
		"-- kustomization.yaml --\n" + bomb + "-- a.yaml --\n" + cm,
		"-- kustomization.yaml --\nresources: [b]\n-- b/kustomization.yaml --\n" + bomb + "-- b/a.yaml --\n" + cm,
	} {
		_, err := build(t, files(tree), kustomize.Options{})
		expectLimit(g, err, "doc-expanded")
	}
}
