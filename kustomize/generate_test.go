// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/gitops-kit/sdk/kustomize"
)

func named(name string) string { return strings.Replace(cm, "name: a", "name: "+name, 1) }

func names(res *kustomize.Result) []string {
	var out []string
	for _, u := range res.Unstructured() {
		out = append(out, u.GetName())
	}
	return out
}

// KZ-1, KZ-2, KZ-3: what a directory without a kustomization means.
func TestGenerator(t *testing.T) {
	g := NewWithT(t)
	tree := "-- app/z.yaml --\n" + named("z") + "-- app/a.yml --\n" + named("a1") + "-- app/README.md --\nx\n-- app/sub/b.yaml --\n" + named("b1") + "-- app/own/Kustomization --\nnamePrefix: own-\nresources: [c.yaml]\n-- app/own/c.yaml --\n" + named("c1") +
		"-- app/own/ignored.yaml --\nnot: an object\n-- app/empty.yaml --\n# nothing\n"
	res := mustBuild(t, files(tree), kustomize.Options{Dir: "app"})
	g.Expect(names(res)).To(Equal([]string{"a1", "own-c1", "b1", "z"}))
	g.Expect(res.Stats.Empty).To(BeFalse())
	_, err := build(t, files(tree+"-- app/.gitlab-ci.yml --\nstages: [x]\n"), kustomize.Options{Dir: "app"})
	g.Expect(err).To(MatchError(HavePrefix("failed to decode Kubernetes YAML from app/.gitlab-ci.yml: ")))
	g.Expect(err).To(MatchError(HaveSuffix("(from app/.gitlab-ci.yml:1)")))
	res = mustBuild(t, files(tree+"-- app/.gitlab-ci.yml --\nstages: [x]\n"), kustomize.Options{Dir: "app", Ignore: kustomize.Ignore{Patterns: "*-ci.yml\n"}})
	g.Expect(res.Objects).To(HaveLen(4))
	for name, text := range map[string]string{
		"empty tree": "-- x.txt --\n", "empty file": "-- kustomization.yaml --\n", "no operand": "-- kustomization.yaml --\nnamePrefix: x\n", "empty list": "-- kustomization.yaml --\nresources: []\n",
	} {
		res = mustBuild(t, files(text), kustomize.Options{Spec: kustomize.Spec{TargetNamespace: "x"}})
		g.Expect(res.Stats.Empty).To(BeTrue(), name)
		g.Expect(res.Objects).To(BeEmpty(), name)
	}
	_, err = build(t, files("-- kustomization.yaml --\nresources: []\n-- kustomization.yml --\nresources: []\n"), kustomize.Options{})
	g.Expect(err).To(MatchError(And(ContainSubstring("kustomization.yaml"), ContainSubstring("kustomization.yml"))))
	for _, dir := range []string{"none", "app/z.yaml", "../x", "/app"} {
		res, err = build(t, files(tree), kustomize.Options{Dir: dir})
		g.Expect(err).To(HaveOccurred(), dir)
		g.Expect(res.Objects).To(BeEmpty())
	}
	_, err = kustomize.New(kustomize.BuilderOptions{}).Build(t.Context(), kustomize.Options{})
	g.Expect(errors.Is(err, kustomize.ErrOptions)).To(BeTrue())
}

// KZ-7: ignore files and patterns filter the scan and local entries.
func TestIgnore(t *testing.T) {
	g := NewWithT(t)
	tree := files("-- kustomization.yaml --\nresources: [a.yaml, b.yaml, sub]\n-- a.yaml --\n" + named("a1") + "-- b.yaml --\n" + named("b1") + "-- sub/kustomization.yaml --\nresources: [c.yaml, d.yaml]\n-- sub/c.yaml --\n" + named("c1") + "-- sub/d.yaml --\n" + named("d1") + "-- sub/.sourceignore --\n/d.yaml\n")
	g.Expect(names(mustBuild(t, tree, kustomize.Options{}))).To(Equal([]string{"a1", "b1", "c1", "d1"}))
	g.Expect(names(mustBuild(t, tree, kustomize.Options{Ignore: kustomize.Ignore{Files: true}}))).To(Equal([]string{"a1", "b1", "c1"}))
	g.Expect(names(mustBuild(t, tree, kustomize.Options{Ignore: kustomize.Ignore{Patterns: "b.yaml\nsub/\n"}}))).To(Equal([]string{"a1"}))
	last := mustBuild(t, tree, kustomize.Options{Ignore: kustomize.Ignore{Files: true}})
	tree["sub/.sourceignore"].Data = []byte("/c.yaml\n")
	same, err := kustomize.New(kustomize.BuilderOptions{}).Unchanged(t.Context(), kustomize.Options{Root: tree, Ignore: kustomize.Ignore{Files: true}}, last)
	g.Expect(same, err).To(BeFalse())
}

// KZ-4, KZ-6: strings stay strings on their way through the merge.
func TestDigitsStayText(t *testing.T) {
	g := NewWithT(t)
	tree := files("-- kustomization.yaml --\nresources: [p.yaml]\n-- p.yaml --\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: a}]}\n")
	for _, engine := range []kustomize.Engine{kustomize.Auto, kustomize.Krusty} {
		for _, v := range []string{"01234", "1234", "1e3", "null", "true", "0755", "8202758", "1e10", "0x1"} {
			res := mustBuild(t, tree, kustomize.Options{Engine: engine, Spec: kustomize.Spec{TargetNamespace: v, Images: []kustomize.Image{{Name: "a", NewTag: v}}}})
			g.Expect(res.Objects[0].GetNamespace()).To(Equal(v))
			c := res.Objects[0].Object["spec"].(map[string]any)["containers"].([]any)[0]
			g.Expect(c).To(HaveKeyWithValue("image", "a:"+v))
		}
		res := mustBuild(t, tree, kustomize.Options{Engine: engine, Spec: kustomize.Spec{NamePrefix: "0x1-", NameSuffix: "-1e3"}})
		g.Expect(res.Objects[0].GetName()).To(Equal("0x1-p-1e3"))
	}
	_, err := build(t, files("-- kustomization.yaml --\nresources: [p.yaml]\nnamespace: 01234\n-- p.yaml --\n"+cm), kustomize.Options{})
	g.Expect(err).To(MatchError(And(ContainSubstring("cannot unmarshal number"), HaveSuffix("(from kustomization.yaml:2)"))))
}

// KZ-6: the image table.
func TestImages(t *testing.T) {
	file := "images: [{name: a, newName: x, newTag: \"1\"}, {name: b, digest: \"sha256:1\"}]\n"
	for name, tc := range map[string]struct {
		add  []kustomize.Image
		want []string
	}{
		"None":      {nil, []string{"x:1", "b@sha256:1", "c"}},
		"NewName":   {[]kustomize.Image{{Name: "a", NewName: "y"}}, []string{"y:1", "b@sha256:1", "c"}},
		"NewTag":    {[]kustomize.Image{{Name: "a", NewTag: "2"}}, []string{"x:2", "b@sha256:1", "c"}},
		"Digest":    {[]kustomize.Image{{Name: "a", Digest: "sha256:9"}}, []string{"x@sha256:9", "b@sha256:1", "c"}},
		"TagForSum": {[]kustomize.Image{{Name: "b", NewTag: "2"}}, []string{"x:1", "b:2", "c"}},
		"Both":      {[]kustomize.Image{{Name: "b", NewTag: "2", Digest: "sha256:3"}}, []string{"x:1", "b:2@sha256:3", "c"}},
		"NameOnly":  {[]kustomize.Image{{Name: "a"}}, []string{"x:1", "b@sha256:1", "c"}},
		"Unknown":   {[]kustomize.Image{{Name: "c", NewTag: "5"}}, []string{"x:1", "b@sha256:1", "c:5"}},
		"All":       {[]kustomize.Image{{Name: "c", NewName: "z"}, {Name: "a", NewTag: "7"}}, []string{"x:7", "b@sha256:1", "z"}},
		"Twice":     {[]kustomize.Image{{Name: "c", NewTag: "1"}, {Name: "c", NewTag: "2"}}, []string{"x:1", "b@sha256:1", "c:2"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			res := mustBuild(t, files("-- kustomization.yaml --\nresources: [p.yaml]\n"+file+"-- p.yaml --\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: a}, {name: b, image: b}, {name: c, image: c}]}\n"),
				kustomize.Options{Spec: kustomize.Spec{Images: tc.add}})
			var got []string
			for _, c := range res.Objects[0].Object["spec"].(map[string]any)["containers"].([]any) {
				got = append(got, c.(map[string]any)["image"].(string))
			}
			g.Expect(got).To(Equal(tc.want))
		})
	}
}

// KZ-5: components of a Spec are local and relative.
func TestSpecComponents(t *testing.T) {
	g := NewWithT(t)
	tree := files("-- app/kustomization.yaml --\nresources: [a.yaml]\n-- app/a.yaml --\n" + cm + "-- c/kustomization.yaml --\napiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: c-\n")
	for _, c := range []string{"git::https://x/y", "GH:x/y", "ssh://x", "HTTPS://x", "http://x", "git@x:y", "github.com:x/y", "github.com/x/y", "file:///x", "/x"} {
		_, err := build(t, tree, kustomize.Options{Dir: "app", Spec: kustomize.Spec{Components: []string{c}}})
		g.Expect(err).To(MatchError(ContainSubstring("component path '"+c+"' must be local and relative")), c)
	}
	res := mustBuild(t, tree, kustomize.Options{Dir: "app", Spec: kustomize.Spec{Components: []string{"../c", "../none"}, IgnoreMissingComponents: true}})
	g.Expect(names(res)).To(Equal([]string{"c-a"}))
	_, err := build(t, tree, kustomize.Options{Dir: "app", Spec: kustomize.Spec{Components: []string{"../none"}}})
	g.Expect(errors.Is(err, kustomize.ErrNoSuchFile)).To(BeTrue())
}

// KZ-8: keys in any case; unknown and duplicate keys are warnings or errors.
func TestKeys(t *testing.T) {
	g := NewWithT(t)
	tree := files("-- kustomization.yaml --\nRESOURCES: [a.yaml]\nnameprefix: x-\nunknown: 1\npatches:\n- target: {kind: Nothing}\n  oops: 1\n  patch: '[{\"op\": \"remove\", \"path\": \"/data\"}]'\nbases: []\n-- a.yaml --\n" + cm)
	res := mustBuild(t, tree, kustomize.Options{})
	g.Expect(names(res)).To(Equal([]string{"x-a"}))
	g.Expect(res.Warnings).To(ConsistOf(
		And(HaveField("Code", kustomize.WarningUnknownKey), HaveField("Line", 3), HaveField("File", "kustomization.yaml")),
		And(HaveField("Code", kustomize.WarningUnknownKey), HaveField("Line", 6)),
		And(HaveField("Code", kustomize.WarningDeprecated), HaveField("Line", 8)),
	))
	_, err := build(t, tree, kustomize.Options{Strict: true})
	g.Expect(err).To(MatchError(ContainSubstring("unknown field")))
	dup := files("-- kustomization.yaml --\nresources: [a.yaml]\nnamePrefix: x-\nnamePrefix: y-\n-- a.yaml --\n" + cm)
	res = mustBuild(t, dup, kustomize.Options{})
	g.Expect(names(res)).To(Equal([]string{"y-a"}))
	g.Expect(res.Warnings).To(ContainElement(And(HaveField("Code", kustomize.WarningDuplicateKey), HaveField("Line", 3))))
	_, err = build(t, dup, kustomize.Options{Strict: true})
	g.Expect(err).To(HaveOccurred())
	_, err = build(t, files("-- kustomization.yaml --\nresources: [b]\n-- b/kustomization.yaml --\nresources: [a.yaml]\nunknown: 1\n-- b/a.yaml --\n"+cm), kustomize.Options{})
	g.Expect(err).To(MatchError(ContainSubstring("unknown field")), "other files are as strict as kustomize")
}

// KZ-28: two objects of one identity name both places.
func TestDuplicateObjects(t *testing.T) {
	g := NewWithT(t)
	for _, engine := range []kustomize.Engine{kustomize.Auto, kustomize.Krusty} {
		_, err := build(t, files("-- a.yaml --\n"+cm+"-- b.yaml --\n"+cm), kustomize.Options{Engine: engine})
		g.Expect(errors.Is(err, kustomize.ErrDuplicateObject)).To(BeTrue(), "%v", err)
		g.Expect(err.Error()).To(And(ContainSubstring("a.yaml"), ContainSubstring("b.yaml")))
	}
}

// KZ-26, KZ-22: a corpus gives what plain kustomize gives on a disk.
func TestOracle(t *testing.T) {
	corpus, err := filepath.Glob("testdata/corpus/*.txt")
	if err != nil || len(corpus) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	covered := 0
	for _, file := range corpus {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(data), "\n==== ") {
			name, tree, _ := strings.Cut(part, "\n")
			t.Run(filepath.Base(file)+"/"+strings.TrimPrefix(name, "==== "), func(t *testing.T) {
				_ = i
				if oracle(t, tree) {
					covered++
				}
			})
		}
	}
	for seed := range uint64(60) {
		tree := newRandomTree(seed + 1_000_000).build()
		var b strings.Builder
		for name, f := range tree {
			b.WriteString("-- " + name + " --\n" + string(f.Data))
		}
		t.Run("random", func(t *testing.T) { oracle(t, b.String()) })
	}
	t.Logf("%d of the corpus ran on the indexed engine", covered)
}

// oracle builds the directory top of a tree with kustomize on a disk and here.
func oracle(t *testing.T, tree string) (covered bool) {
	t.Helper()
	root, base := onDisk(t, tree)
	var want string
	var failed error
	err := kustomize.LockSchema(t.Context(), func() error {
		o := krusty.MakeDefaultOptions()
		o.LoadRestrictions = types.LoadRestrictionsNone
		var m resmap.ResMap
		if m, failed = krusty.MakeKustomizer(o).Run(filesys.MakeFsOnDisk(), filepath.Join(base, "top")); failed == nil {
			var y []byte
			y, failed = m.AsYaml()
			want = string(y)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range []kustomize.Engine{kustomize.Krusty, kustomize.Auto} {
		res, err := build(t, root.FS(), kustomize.Options{Dir: "top", Engine: engine})
		if (err != nil) != (failed != nil) {
			t.Fatalf("%s: got %v, kustomize says %v", engine, err, failed)
		}
		if err != nil {
			return false
		}
		if got := text(t, res); got != want {
			t.Fatalf("%s: got\n%s\nwant\n%s", engine, got, want)
		}
		covered = res.Stats.Engine == kustomize.Indexed
	}
	return covered
}
