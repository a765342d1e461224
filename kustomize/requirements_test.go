// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/kustomize"
)

// KZ-48: what crds, configurations and transformers teach the engine holds for
// one build, which stays on the common path.
func TestPerBuildConfiguration(t *testing.T) {
	const body = "\n-- foo.yaml --\napiVersion: example.com/v1\nkind: Foo\nmetadata: {name: f}\nspec: {ref: {name: a}}\n-- a.yaml --\n" + cm
	const resources = "-- kustomization.yaml --\nnamePrefix: p-\nresources: [foo.yaml, a.yaml]\n"
	ref := func(t *testing.T, tree string) string {
		t.Helper()
		g := NewWithT(t)
		_, lanes := kustomize.SchemaParses()
		res := mustBuild(t, files(tree), kustomize.Options{})
		_, after := kustomize.SchemaParses()
		g.Expect(res.Stats.Lane).To(BeFalse())
		g.Expect(after).To(Equal(lanes), "no other build waited")
		for _, u := range res.Unstructured() {
			if u.GetKind() == "Foo" {
				return u.Object["spec"].(map[string]any)["ref"].(map[string]any)["name"].(string)
			}
		}
		t.Fatal("no Foo")
		return ""
	}
	for name, tree := range map[string]string{
		"configurations": resources + "configurations: [c.yaml]\n-- c.yaml --\nnameReference:\n- kind: ConfigMap\n  version: v1\n  fieldSpecs: [{kind: Foo, path: spec/ref/name}]" + body,
		"crds": resources + "crds: [crd.json]\n-- crd.json --\n" + `{"example.com/v1.Foo": {"Schema": {"x-kubernetes-group-version-kind": [{"group": "example.com", "kind": "Foo", "version": "v1"}],
"properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}, "spec": {"$ref": "example.com/v1.FooSpec"}}}},
"example.com/v1.FooSpec": {"Schema": {"properties": {"ref": {"type": "object", "x-kubernetes-object-ref-api-version": "v1", "x-kubernetes-object-ref-kind": "ConfigMap", "x-kubernetes-object-ref-name-key": "name"}}}}}` + body,
		"transformers": resources + "transformers: [t.yaml]\n-- t.yaml --\napiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: x}\nprefix: p-\nfieldSpecs: [{kind: Foo, path: spec/ref/name}]" + body,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(ref(t, resources+body)).To(Equal("a"))
			g.Expect(ref(t, tree)).To(Equal("p-a"))
			g.Expect(ref(t, resources+body)).To(Equal("a"), "the next build knows nothing of it")
		})
	}
}

// module returns the version and directory of a module of the build.
func module(t *testing.T, path string) (version, dir string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", path).Output()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	version, dir, _ = strings.Cut(strings.TrimSpace(string(out)), " ")
	return version, dir
}

// parsed calls fn with each Go file of a tree that is no test.
func parsed(t *testing.T, dir string, fn func(rel string, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		fn(filepath.ToSlash(rel), f)
		return err
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
}

// called lists the names that a function calls without a qualifier, or with one
// when that is pkg.
func called(body ast.Node, pkg string) []string {
	var names []string
	ast.Inspect(body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch fn := call.Fun.(type) {
		case *ast.Ident:
			if pkg == "" {
				names = append(names, fn.Name)
			}
		case *ast.SelectorExpr:
			if x, ok := fn.X.(*ast.Ident); ok && x.Name == pkg {
				names = append(names, fn.Sel.Name)
			}
		}
		return true
	})
	return names
}

// assigned reports whether a function assigns to, or to a field of, one of the
// variables.
func assigned(body ast.Node, globals map[string]bool) bool {
	found := false
	ast.Inspect(body, func(n ast.Node) bool {
		a, ok := n.(*ast.AssignStmt)
		if !ok || a.Tok == token.DEFINE {
			return true
		}
		for _, left := range a.Lhs {
			for {
				if s, ok := left.(*ast.SelectorExpr); ok {
					left = s.X
				} else if i, ok := left.(*ast.IndexExpr); ok {
					left = i.X
				} else {
					break
				}
			}
			if id, ok := left.(*ast.Ident); ok && globals[id.Name] {
				found = true
			}
		}
		return true
	})
	return found
}

// KZ-50: the versions whose schema code this module was written against, who
// writes that schema, and who calls them. Whoever moves to another version has
// to look at all of it again.
func TestSchemaWriters(t *testing.T) {
	g := NewWithT(t)
	version, kyaml := module(t, "sigs.k8s.io/kustomize/kyaml")
	g.Expect(version).To(Equal("v0.21.2"))
	version, api := module(t, "sigs.k8s.io/kustomize/api")
	g.Expect(version).To(Equal("v0.21.2"))

	globals, bodies := map[string]bool{}, map[string]*ast.FuncDecl{}
	parsed(t, filepath.Join(kyaml, "openapi"), func(rel string, f *ast.File) {
		if strings.Contains(rel, "/") {
			return // packages with data
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					bodies[d.Name.Name] = d
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if v, ok := s.(*ast.ValueSpec); ok && d.Tok == token.VAR {
						for _, name := range v.Names {
							globals[name.Name] = true
						}
					}
				}
			}
		}
	})
	g.Expect(globals).To(HaveKey("globalSchema"))
	// Readers begin with these, which write when nobody has parsed the schema
	// yet: KZ-40 sees to it.
	lazy := map[string]bool{"initSchema": true, "isInitSchemaNeededForNamespaceScopeCheck": true}
	writers := map[string]bool{}
	for before := -1; before != len(writers); {
		before = len(writers)
		for name, f := range bodies {
			if !lazy[name] && (assigned(f.Body, globals) || slices.ContainsFunc(called(f.Body, ""), func(c string) bool { return writers[c] })) {
				writers[name] = true
			}
		}
	}
	var exported []string
	for name := range writers {
		if ast.IsExported(name) {
			exported = append(exported, name)
		}
	}
	g.Expect(exported).To(ConsistOf("AddDefinitions", "AddSchema", "ResetOpenAPI", "SetSchema", "SuppressBuiltInSchemaUse"))

	var callers []string
	for name, dir := range map[string]string{"api": api, "kyaml": kyaml} {
		parsed(t, dir, func(rel string, f *ast.File) {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
					for _, c := range called(fn.Body, "openapi") {
						if writers[c] {
							callers = append(callers, name+"/"+rel+" "+fn.Name.Name+": "+c)
						}
					}
				}
			}
		})
	}
	g.Expect(callers).To(ConsistOf(
		"api/krusty/kustomizer.go Run: SetSchema",
		"api/internal/target/kusttarget.go accumulateDirectory: SetSchema",
		// Functions that others write with kyaml; the engine does not come here.
		"kyaml/fn/framework/processors.go Filter: ResetOpenAPI",
		"kyaml/fn/framework/processors.go Filter: AddDefinitions",
	))
}

// KZ-62: errors name file and line wherever the engine names a file, an entry or
// an object; the established text comes first.
func TestErrorPositions(t *testing.T) {
	const second = "-- b.yaml --\n# comment\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"
	for name, tc := range map[string]struct {
		tree, text, file string
		line             int
	}{
		"YAML":          {"-- kustomization.yaml --\nresources: [a.yaml]\n-- a.yaml --\na: b\nc: [\n", "invalid content: MalformedYAMLError: yaml: line 2: did not find expected node content", "a.yaml", 2},
		"RootYAML":      {"-- kustomization.yaml --\n# comment\nresources: [a.yaml\n", "invalid content: MalformedYAMLError: yaml: line", "kustomization.yaml", 0},
		"PatchYAML":     {"-- kustomization.yaml --\nresources: [b.yaml]\npatches:\n- path: p.yaml\n-- p.yaml --\n- op: x\n  path: [\n" + second, "invalid content: MalformedYAMLError: yaml: line 2", "p.yaml", 2},
		"ThirdOfFive":   {"-- kustomization.yaml --\nresources: [a.yaml]\n-- a.yaml --\n" + strings.ReplaceAll(cm, "name: a", "name: x") + "\n---\n" + cm + "\n---\na: {\n---\n" + cm + "\n---\n" + cm, "invalid content: ", "a.yaml", 0},
		"NoKind":        {"-- kustomization.yaml --\nresources: [a.yaml]\n-- a.yaml --\n# comment\napiVersion: v1\nmetadata: {name: a}\n", "invalid content: missing kind in object", "a.yaml", 2},
		"Entry":         {"-- kustomization.yaml --\nresources:\n- b.yaml\n- none.yaml\n" + second, `resources[1]: no such file or directory: "none.yaml"`, "kustomization.yaml", 3},
		"GeneratorFile": {"-- kustomization.yaml --\nconfigMapGenerator:\n- name: x\n  files:\n  - none.txt\n", `configMapGenerator[0].files[0]: no such file or directory: "none.txt"`, "kustomization.yaml", 4},
		"ObjectID":      {"-- kustomization.yaml --\nresources:\n- b.yaml\n- c.yaml\n" + second + "-- c.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n", "accumulating resources: ", "b.yaml", 2},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := build(t, files(tc.tree), kustomize.Options{Engine: kustomize.Krusty})
			var be *kustomize.BuildError
			g.Expect(errors.As(err, &be)).To(BeTrue(), "%v", err)
			g.Expect(be.File).To(Equal(tc.file))
			if tc.line > 0 {
				g.Expect(be.Line).To(Equal(tc.line))
			}
			g.Expect(be.Line).To(BeNumerically(">", 0))
			g.Expect(err.Error()).To(HavePrefix(tc.text))
			g.Expect(err.Error()).To(MatchRegexp(`\(from ` + tc.file + `:\d+\)$`))
		})
	}
}

// KZ-83: every variable without a declaration is reported, with its position.
func TestFailUndeclared(t *testing.T) {
	g := NewWithT(t)
	tree := "-- a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {l: \"${ONE}\"}\ndata:\n  declared: ${D}\n  two: a ${TWO} b ${ONE}\n" +
		"  operators: ${X:-y} ${X%z} ${X/a/b} ${#X}\n  others: $X $(X) ${x.y} ${} ${1}\n  escaped: $${D}\n" +
		"-- b.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata:\n  three: |\n    text\n    ${THREE}\n"
	o := kustomize.Substitution{Vars: values("D", canary), Mode: kustomize.Typed, FailUndeclared: true}
	_, err := substituted(t, tree, o)
	g.Expect(errors.Is(err, kustomize.ErrVariable)).To(BeTrue(), "%v", err)
	var all interface{ Unwrap() []error }
	g.Expect(errors.As(err, &all)).To(BeTrue())
	var got []string
	for _, e := range all.Unwrap() {
		var ve *kustomize.VariableError
		g.Expect(errors.As(e, &ve)).To(BeTrue(), "%v", e)
		g.Expect(ve.Terminal()).To(BeTrue())
		g.Expect(ve.Line).To(BeNumerically(">", 0))
		got = append(got, ve.Name+" "+ve.File+" "+ve.Path)
	}
	g.Expect(got).To(ConsistOf("ONE a.yaml .metadata.labels.l", "TWO a.yaml .data.two", "ONE a.yaml .data.two", "THREE b.yaml .data.three"))
	g.Expect(err.Error()).NotTo(ContainSubstring(canary))
	o.FailUndeclared = false
	res, err := substituted(t, tree, o)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Unstructured()[0].Object["data"]).To(HaveKeyWithValue("two", "a ${TWO} b ${ONE}"))
}

// KZ-92: hooks change bytes and objects, not where they come from.
func TestHooksKeepOrigins(t *testing.T) {
	for _, engine := range []kustomize.Engine{kustomize.Indexed, kustomize.Krusty} {
		t.Run(engine.String(), func(t *testing.T) {
			g := NewWithT(t)
			tree := files(twoBases)
			tree["base/multi.yaml"].Data = append(tree["base/multi.yaml"].Data, "---\napiVersion: v1\nkind: Secret\nmetadata: {name: enc}\nsops: {}\n"...)
			o := kustomize.Options{Dir: "top", Engine: engine}
			annotated := engine == kustomize.Krusty // the other leaves such trees to it
			if annotated {
				o.Spec.BuildMetadata = []string{"originAnnotations"}
			}
			want := mustBuild(t, tree, o)
			calls := 0
			o.Hooks = kustomize.Hooks{
				File: func(_ context.Context, f kustomize.HookFile) ([]byte, error) {
					if f.Path == "base/multi.yaml" {
						calls++
						return append([]byte("# decrypted\n\n\n"), f.Data...), nil // lines move
					}
					return f.Data, nil
				},
				Object: func(_ context.Context, o kustomize.Object) (kustomize.Object, bool, error) {
					o.Unstructured = o.DeepCopy()
					o.SetLabels(map[string]string{"seen": "yes"})
					return o, true, nil
				},
			}
			got := mustBuild(t, tree, o)
			g.Expect(calls).To(Equal(1))
			g.Expect(got.Objects).To(HaveLen(len(want.Objects)))
			const key = "config.kubernetes.io/origin"
			for i, o := range got.Objects {
				g.Expect(o.GetLabels()).To(HaveKeyWithValue("seen", "yes"))
				g.Expect(o.Origin.File).To(Equal(want.Objects[i].Origin.File))
				g.Expect(o.Origin.Doc).To(Equal(want.Objects[i].Origin.Doc))
				g.Expect(o.GetAnnotations()[key]).To(Equal(want.Objects[i].GetAnnotations()[key]))
				g.Expect(o.GetAnnotations()[key] != "").To(Equal(annotated))
			}
		})
	}
}
