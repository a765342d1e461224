// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/openapi"

	"github.com/gitops-kit/sdk/kustomize"
)

var isolationBuilds = flag.Int("isolation", isolationDefault(), "builds of the isolation test")

// isolationDefault is what there is time for; GITOPS_KIT_LONG=1 asks for more.
func isolationDefault() int {
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		return 10_240
	}
	return 640
}

// patience is for many builds that wait for each other on a busy machine: waiting
// for the lane counts against the time of a build.
const patience = 30 * time.Minute

const fooSchema = `{"definitions":{"v1.Foo":{"type":"object","x-kubernetes-group-version-kind":[{"group":"example.com","kind":"Foo","version":"v1"}],
"properties":{"spec":{"type":"object","properties":{"list":{"type":"array","x-kubernetes-patch-merge-key":"name","x-kubernetes-patch-strategy":"merge",
"items":{"type":"object","properties":{"name":{"type":"string"},"v":{"type":"string"}}}}}}}}}}`

// trimmedSchema makes containers of a Deployment a list that is replaced.
const trimmedSchema = `{"definitions":{"v1.Deployment":{"type":"object","x-kubernetes-group-version-kind":[{"group":"apps","kind":"Deployment","version":"v1"}],
"properties":{"spec":{"type":"object","properties":{"template":{"type":"object","properties":{"spec":{"type":"object","properties":{"containers":{"type":"array","items":{"type":"object"}}}}}}}}}}}}`

const (
	fooFiles = `
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
`
	deployFiles = `
-- d.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {spec: {containers: [{name: x, image: i}, {name: y, image: j}]}}}
-- dp.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {spec: {containers: [{name: y, image: k}]}}}
`
)

// isolationTrees are the kinds of builds that could influence each other.
func isolationTrees() map[string]fstest.MapFS {
	schema := "\n-- s.json --\n" + fooSchema + "\n"
	return map[string]fstest.MapFS{
		"plain patch":     files("-- kustomization.yaml --\nresources: [d.yaml]\npatches: [{path: dp.yaml}]" + deployFiles),
		"custom resource": files("-- kustomization.yaml --\nresources: [r.yaml]\npatches: [{path: p.yaml}]" + fooFiles),
		"trimmed":         files("-- kustomization.yaml --\nopenapi: {path: s.json}\nresources: [d.yaml]\npatches: [{path: dp.yaml}]" + deployFiles + "\n-- s.json --\n" + trimmedSchema),
		"own schema":      files("-- kustomization.yaml --\nopenapi: {path: s.json}\nresources: [r.yaml]\npatches: [{path: p.yaml}]" + fooFiles + schema),
		"in a component": files("-- kustomization.yaml --\nresources: [r.yaml]\ncomponents: [c]\npatches: [{path: p.yaml}]\n-- c/kustomization.yaml --\napiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nopenapi: {path: ../s.json}\nnamePrefix: c-" +
			fooFiles + schema),
		"in a base": files("-- kustomization.yaml --\nresources: [b]\npatches: [{path: p.yaml}]\n-- b/kustomization.yaml --\nopenapi: {path: ../s.json}\nresources: [../r.yaml]" + fooFiles + schema),
		"behind transformers": files("-- kustomization.yaml --\nresources: [r.yaml]\ntransformers: [t]\npatches: [{path: p.yaml}]\n-- t/kustomization.yaml --\nopenapi: {path: ../s.json}\nresources: [t.yaml]\n-- t/t.yaml --\napiVersion: builtin\nkind: PrefixSuffixTransformer\nmetadata: {name: x}\nprefix: t-\nfieldSpecs: [{path: metadata/name}]" +
			fooFiles + schema),
		"version only": files("-- kustomization.yaml --\nopenapi: {version: v1.21.2}\nresources: [d.yaml]\npatches: [{path: dp.yaml}]" + deployFiles),
		"other case":   files("-- kustomization.yaml --\nOpenAPI: {path: s.json}\nresources: [r.yaml]\npatches: [{path: p.yaml}]" + fooFiles + schema),
	}
}

// KZ-40, KZ-41, KZ-42, KZ-43, KZ-45: builds of all kinds at once give what each
// gives alone.
func TestIsolationConcurrentSafe(t *testing.T) {
	g := NewWithT(t)
	trees := isolationTrees()
	want := map[string]string{}
	var names []string
	alone := kustomize.New(kustomize.BuilderOptions{})
	for name, tree := range trees {
		res, err := alone.Build(t.Context(), kustomize.Options{Root: tree})
		g.Expect(err).NotTo(HaveOccurred(), name)
		want[name] = text(t, res)
		names = append(names, name)
	}
	g.Expect(want["own schema"]).To(ContainSubstring("name: x"), "merged by key")
	g.Expect(want["custom resource"]).NotTo(ContainSubstring("name: x"), "replaced without a schema")
	g.Expect(want["trimmed"]).NotTo(ContainSubstring("image: i"))
	g.Expect(want["plain patch"]).To(ContainSubstring("image: i"))
	b := kustomize.New(kustomize.BuilderOptions{Parallel: 64, SchemaWait: patience})
	var wg sync.WaitGroup
	for worker := range 64 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			for range *isolationBuilds / 64 {
				name := names[r.IntN(len(names))]
				if r.IntN(4) > 0 {
					name = []string{"plain patch", "custom resource", "version only"}[r.IntN(3)]
				}
				engine := []kustomize.Engine{kustomize.Auto, kustomize.Krusty}[r.IntN(2)]
				res, err := b.Build(t.Context(), kustomize.Options{Root: trees[name], Engine: engine, Limits: kustomize.Limits{Time: patience}})
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				if got := text(t, res); got != want[name] {
					t.Errorf("%s: got\n%s\nwant\n%s", name, got, want[name])
					return
				}
			}
		})
	}
	wg.Wait()
	g.Expect(openapi.GetSchemaVersion()).To(Equal("v1.21.2"))
}

// The control: without the gate a schema leaks into the next build, so the test
// above is able to see it. It runs in a process of its own.
func TestIsolationControl(t *testing.T) {
	const env = "KUSTOMIZE_TEST_CONTROL"
	trees := isolationTrees()
	if os.Getenv(env) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestIsolationControl$", "-test.v")
		cmd.Env = append(os.Environ(), env+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "schema leaked") {
			t.Fatalf("the control sees no leak: %v\n%s", err, out)
		}
		return
	}
	run := func(name string) string {
		o := krusty.MakeDefaultOptions()
		o.LoadRestrictions = types.LoadRestrictionsNone
		fsys := filesys.MakeFsInMemory()
		for path, f := range trees[name] {
			if err := fsys.WriteFile("/"+path, f.Data); err != nil {
				t.Fatal(err)
			}
		}
		m, err := krusty.MakeKustomizer(o).Run(fsys, "/")
		if err != nil {
			t.Fatal(err)
		}
		y, err := m.AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		return string(y)
	}
	before := run("custom resource")
	run("own schema")
	if run("custom resource") != before {
		t.Log("schema leaked")
	}
}

// KZ-43: SchemaReplace drops the built-in schema for this build only.
func TestSchemaReplace(t *testing.T) {
	g := NewWithT(t)
	tree := files("-- kustomization.yaml --\nopenapi: {path: s.json}\nresources: [d.yaml, r.yaml]\npatches: [{path: dp.yaml}, {path: p.yaml}]" + deployFiles + fooFiles + "\n-- s.json --\n" + fooSchema)
	add := mustBuild(t, tree, kustomize.Options{})
	g.Expect(text(t, add)).To(ContainSubstring("image: i"))
	g.Expect(text(t, add)).To(ContainSubstring("name: x"))
	replace := mustBuild(t, tree, kustomize.Options{Schema: kustomize.SchemaReplace})
	g.Expect(text(t, replace)).NotTo(ContainSubstring("image: i"))
	g.Expect(text(t, mustBuild(t, isolationTrees()["plain patch"], kustomize.Options{}))).To(ContainSubstring("image: i"))
}

// KZ-44, KZ-47: the lane waits for others only so long, and they for it.
func TestSchemaBusy(t *testing.T) {
	g := NewWithT(t)
	b := kustomize.New(kustomize.BuilderOptions{SchemaWait: 50 * time.Millisecond})
	held, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- kustomize.ShareSchema(context.WithoutCancel(t.Context()), func() error {
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	_, err := b.Build(t.Context(), kustomize.Options{Root: isolationTrees()["own schema"]})
	g.Expect(errors.Is(err, kustomize.ErrSchemaBusy)).To(BeTrue(), "%v", err)
	var soft interface{ Terminal() bool }
	g.Expect(errors.As(err, &soft) && !soft.Terminal()).To(BeTrue())
	_, err = b.Build(t.Context(), kustomize.Options{Root: isolationTrees()["plain patch"]})
	g.Expect(err).NotTo(HaveOccurred(), "common builds go on")
	close(release)
	g.Expect(<-done).To(Succeed())

	held, release = make(chan struct{}), make(chan struct{})
	go func() {
		done <- kustomize.LockSchema(context.WithoutCancel(t.Context()), func() error {
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	_, err = b.Build(t.Context(), kustomize.Options{Root: isolationTrees()["plain patch"]})
	g.Expect(errors.Is(err, kustomize.ErrSchemaBusy)).To(BeTrue(), "%v", err)
	close(release)
	g.Expect(<-done).To(Succeed())
}

// KZ-47: a schema that somebody else set is noticed and undone.
func TestSchemaForeign(t *testing.T) {
	g := NewWithT(t)
	tree := isolationTrees()["custom resource"]
	want := text(t, mustBuild(t, tree, kustomize.Options{}))
	g.Expect(openapi.SetSchema(map[string]string{"path": "x"}, []byte(fooSchema), true)).To(Succeed())
	res := mustBuild(t, tree, kustomize.Options{})
	g.Expect(text(t, res)).To(Equal(want))
	g.Expect(res.Warnings).To(ContainElement(HaveField("Code", kustomize.WarningSchemaForeign)))
	g.Expect(mustBuild(t, tree, kustomize.Options{}).Warnings).To(BeEmpty())
}

// KZ-43, KZ-27: whatever happens in the lane, the next common build is right.
func TestLaneFailures(t *testing.T) {
	g := NewWithT(t)
	want := text(t, mustBuild(t, isolationTrees()["plain patch"], kustomize.Options{}))
	next := func() {
		g.Expect(text(t, mustBuild(t, isolationTrees()["plain patch"], kustomize.Options{}))).To(Equal(want))
	}
	broken := files("-- kustomization.yaml --\nopenapi: {path: s.json}\nresources: [d.yaml]\npatches: [{path: dp.yaml}]" + deployFiles + "\n-- s.json --\n{\"definitions\": [1]}\n")
	_, err := build(t, broken, kustomize.Options{Engine: kustomize.Krusty})
	var pe *kustomize.PanicError
	g.Expect(errors.As(err, &pe)).To(BeTrue(), "%v", err)
	g.Expect(pe.Terminal()).To(BeTrue())
	next()
	g.Expect(kustomize.LockSchema(t.Context(), func() error { return openapi.AddSchema([]byte(trimmedSchema)) })).To(Succeed())
	next()
	failing := isolationTrees()["own schema"]
	failing["p.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: example.com/v1\nkind: Foo\nmetadata: {name: none}\n")}
	_, err = build(t, failing, kustomize.Options{})
	g.Expect(err).To(HaveOccurred())
	next()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = kustomize.New(kustomize.BuilderOptions{}).Build(ctx, kustomize.Options{Root: isolationTrees()["own schema"]})
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue())
	next()
}

// KZ-40, KZ-43: parses and lanes are counted, not timed.
func TestSchemaCounts(t *testing.T) {
	g := NewWithT(t)
	mustBuild(t, isolationTrees()["plain patch"], kustomize.Options{})
	b := kustomize.New(kustomize.BuilderOptions{})
	parses, lanes := kustomize.SchemaParses()
	for range 200 {
		_, err := b.Build(t.Context(), kustomize.Options{Root: isolationTrees()["plain patch"], Engine: kustomize.Krusty})
		g.Expect(err).NotTo(HaveOccurred())
	}
	p, l := kustomize.SchemaParses()
	g.Expect([]int64{p - parses, l - lanes}).To(Equal([]int64{0, 0}))
	for range 3 {
		_, err := b.Build(t.Context(), kustomize.Options{Root: isolationTrees()["own schema"]})
		g.Expect(err).NotTo(HaveOccurred())
	}
	p, l = kustomize.SchemaParses()
	g.Expect([]int64{p - parses, l - lanes}).To(Equal([]int64{3, 3}))
	g.Expect(b.Stats().Lanes).To(Equal(int64(3)))
}

// KZ-44: many builds with a schema and many without all finish.
func TestLaneFairnessConcurrentSafe(t *testing.T) {
	trees := isolationTrees()
	b := kustomize.New(kustomize.BuilderOptions{Parallel: 32, SchemaWait: patience})
	var wg sync.WaitGroup
	for i := range 130 {
		wg.Go(func() {
			name := "plain patch"
			if i%13 == 0 {
				name = "own schema"
			}
			if _, err := b.Build(t.Context(), kustomize.Options{Root: trees[name], Limits: kustomize.Limits{Time: patience}}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
}

// KZ-45: the first schema wins, the others are warned about.
func TestSecondSchema(t *testing.T) {
	g := NewWithT(t)
	tree := isolationTrees()["in a base"]
	tree["kustomization.yaml"] = &fstest.MapFile{Data: []byte("openapi: {path: s.json}\nresources: [b]\npatches: [{path: p.yaml}]\n")}
	res := mustBuild(t, tree, kustomize.Options{})
	g.Expect(res.Warnings).To(ContainElement(And(HaveField("Code", kustomize.WarningSecondSchema), HaveField("File", "b/kustomization.yaml"))))
}

// KZ-49: a runner gets the whole tree and gives the same objects.
func TestSchemaRunner(t *testing.T) {
	g := NewWithT(t)
	for name, tree := range isolationTrees() {
		want := mustBuild(t, tree, kustomize.Options{})
		if !want.Stats.Lane {
			continue
		}
		_, lanes := kustomize.SchemaParses()
		b := kustomize.New(kustomize.BuilderOptions{SchemaRunner: runner{}})
		got, err := b.Build(t.Context(), kustomize.Options{Root: tree})
		g.Expect(err).NotTo(HaveOccurred(), name)
		g.Expect(text(t, got)).To(Equal(text(t, want)), name)
		_, after := kustomize.SchemaParses()
		g.Expect(after-lanes).To(Equal(int64(1)), "only the runner of the test takes the lane")
	}
}

// KZ-49: an error of a runner is transient unless it says otherwise.
func TestSchemaRunnerError(t *testing.T) {
	g := NewWithT(t)
	b := kustomize.New(kustomize.BuilderOptions{SchemaRunner: brokenRunner{}})
	_, err := b.Build(t.Context(), kustomize.Options{Root: isolationTrees()["own schema"]})
	var be *kustomize.BuildError
	g.Expect(errors.Is(err, errRunner) && errors.As(err, &be) && !be.Terminal()).To(BeTrue(), "%v", err)
}

var errRunner = errors.New("no worker is free")

type brokenRunner struct{}

func (brokenRunner) Run(context.Context, kustomize.SchemaTree) ([]byte, error) { return nil, errRunner }

// runner is a schema runner in this process.
type runner struct{}

func (runner) Run(ctx context.Context, t kustomize.SchemaTree) (out []byte, err error) {
	fsys := filesys.MakeFsInMemory()
	for name, data := range t.Files {
		if err := fsys.WriteFile("/"+name, data); err != nil {
			return nil, fmt.Errorf("write: %w", err)
		}
	}
	err = kustomize.LockSchema(ctx, func() error {
		o := krusty.MakeDefaultOptions()
		o.LoadRestrictions = types.LoadRestrictionsNone
		m, err := krusty.MakeKustomizer(o).Run(fsys, "/"+t.Dir)
		if err != nil {
			return err
		}
		out, err = m.AsYaml()
		return err
	})
	return out, err
}
