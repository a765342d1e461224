// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/controllers/kustomize"
	engine "github.com/gitops-kit/sdk/kustomize"
	"github.com/gitops-kit/sdk/ssa"
)

func app(change func(*v1.Kustomization)) *v1.Kustomization {
	o := &v1.Kustomization{}
	o.Name, o.Namespace = "app", "team"
	o.Spec.Interval = *meta.NewDuration(10 * time.Minute)
	o.Spec.Prune = true
	o.Spec.SourceRef = v1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "app"}
	if change != nil {
		change(o)
	}
	return o
}

func flags(t *testing.T, args ...string) (kustomize.Flags, error) {
	t.Helper()
	var f kustomize.Flags
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f, f.Validate()
}

func TestBuildOptionsTakeEveryField(t *testing.T) { // KUS-21
	g := NewWithT(t)
	root := fstest.MapFS{}
	o := app(func(o *v1.Kustomization) {
		o.Spec.Path = "./deploy/../deploy/prod/"
		o.Spec.TargetNamespace, o.Spec.NamePrefix, o.Spec.NameSuffix = "prod", "a-", "-b"
		o.Spec.CommonMetadata = &v1.CommonMetadata{Labels: map[string]string{"l": "1"}, Annotations: map[string]string{"a": "2"}}
		o.Spec.Components, o.Spec.IgnoreMissingComponents = []string{"../c"}, true
		o.Spec.BuildMetadata = []string{"originAnnotations"}
		o.Spec.Images = []meta.Image{{Name: "app", NewName: "other", NewTag: "1", Digest: "sha256:00"}}
		o.Spec.Patches = []meta.Patch{{Patch: "p"}, {Patch: "q", Target: &meta.Selector{Group: "apps", Version: "v1", Kind: "Deployment", Name: "n", Namespace: "s", LabelSelector: "x=y", AnnotationSelector: "z"}}}
	})
	got := kustomize.BuildOptions(o, root)
	want := engine.Options{Root: root, Dir: "deploy/prod", Spec: engine.Spec{
		TargetNamespace: "prod", NamePrefix: "a-", NameSuffix: "-b",
		Components: []string{"../c"}, IgnoreMissingComponents: true, BuildMetadata: []string{"originAnnotations"},
		CommonMetadata: engine.CommonMetadata{Labels: map[string]string{"l": "1"}, Annotations: map[string]string{"a": "2"}},
		Images:         []engine.Image{{Name: "app", NewName: "other", NewTag: "1", Digest: "sha256:00"}},
		Patches: []engine.Patch{{Patch: "p"}, {Patch: "q", Target: &engine.Selector{
			Group: "apps", Version: "v1", Kind: "Deployment", Name: "n", Namespace: "s", LabelSelector: "x=y", AnnotationSelector: "z",
		}}},
	}}
	g.Expect(cmp.Diff(want, got)).To(BeEmpty())
}

func TestPathStaysInsideTheArtifact(t *testing.T) { // KUS-10
	g := NewWithT(t)
	for in, want := range map[string]string{
		"": ".", "./": ".", "/": ".", "a/b": "a/b", "/a": "a", "../../etc": "etc", "a/../../b": "b",
	} {
		g.Expect(kustomize.PathOf(app(func(o *v1.Kustomization) { o.Spec.Path = in }))).To(Equal(want), in)
	}
}

func TestPlanOptionsFollowPolicies(t *testing.T) { // KUS-46, KUS-48
	g := NewWithT(t)
	f, err := flags(t, "--override-manager=console", "--ownership-conflict=fail", "--full-verify-every=3")
	g.Expect(err).NotTo(HaveOccurred())
	o := app(func(o *v1.Kustomization) {
		o.Spec.Force = true
		o.Spec.Ignore = []v1.IgnoreRule{{Paths: []string{"/spec/replicas", "bad", ""}, Target: &meta.Selector{Kind: "Deployment"}}, {Paths: []string{"none"}}}
	})
	p := kustomize.PlanOptions(o, f)
	g.Expect(p.Force).To(BeTrue())
	g.Expect(p.FailOnOtherOwner).To(BeTrue())
	g.Expect(p.VerifyEvery).To(Equal(3))
	g.Expect(p.Exclude).To(Equal(ssa.Selector{"kustomize.toolkit.fluxcd.io/reconcile": "disabled", "kustomize.toolkit.fluxcd.io/ssa": "Ignore"}))
	g.Expect(p.IfNotPresent).To(Equal(ssa.Selector{"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}))
	g.Expect(p.NoTakeover).To(Equal(ssa.Selector{"kustomize.toolkit.fluxcd.io/ssa": "Merge"}))
	g.Expect(p.ForceSelector).To(Equal(ssa.Selector{"kustomize.toolkit.fluxcd.io/force": "enabled"}))
	g.Expect(p.Ignore).To(Equal([]ssa.PathRule{{Paths: []string{"/spec/replicas", ""}, Target: ssa.Match{Kind: "Deployment"}}}))
	g.Expect(p.Takeover.Managers).To(ContainElements(
		ssa.ManagerMatch{Name: "kubectl", Operation: "Update"},
		ssa.ManagerMatch{Name: "console", Exact: true, Operation: "Apply"},
	))
	g.Expect(p.Takeover.Annotations).To(ContainElement("kubectl.kubernetes.io/last-applied-configuration"))
}

func TestPruneOptionsFollowGuards(t *testing.T) { // KUS-62, KUS-63, KUS-64
	g := NewWithT(t)
	f, err := flags(t, "--prune-budget=10/20%", "--prune-protect=PersistentVolumeClaim,CustomResourceDefinition.apiextensions.k8s.io")
	g.Expect(err).NotTo(HaveOccurred())
	p := kustomize.PruneOptions(app(nil), f, "install")
	g.Expect(p.Budget).To(Equal(ssa.Budget{Count: 10, Percent: 20}))
	g.Expect(p.AllowEmpty).To(BeFalse())
	g.Expect(p.Keep).To(Equal(ssa.Selector{"kustomize.toolkit.fluxcd.io/prune": "disabled"}))
	g.Expect(p.Confirm).To(Equal(ssa.Selector{"gitops-kit.github.io/prune": "confirm"}))
	g.Expect(p.Protect).To(ContainElements(
		ssa.Match{Kind: "Namespace", Name: "kube-system|default|install"},
		ssa.Match{Kind: "PersistentVolumeClaim"},
		ssa.Match{Group: `apiextensions\.k8s\.io`, Kind: "CustomResourceDefinition"},
	))

	o := app(func(o *v1.Kustomization) {
		o.Annotations = map[string]string{
			"gitops-kit.github.io/prune-budget":   "3",
			"gitops-kit.github.io/prune-approved": "abc",
			"gitops-kit.github.io/allow-empty":    "true",
		}
	})
	p = kustomize.PruneOptions(o, f, "")
	g.Expect(p.Budget).To(Equal(ssa.Budget{Count: 3}))
	g.Expect(p.Approved).To(Equal("abc"))
	g.Expect(p.AllowEmpty).To(BeTrue())

	f, err = flags(t, "--prune-protect=none", "--allow-empty-render")
	g.Expect(err).NotTo(HaveOccurred())
	p = kustomize.PruneOptions(app(nil), f, "install")
	g.Expect(p.Protect).To(BeEmpty())
	g.Expect(p.AllowEmpty).To(BeTrue())
}

func TestFlagsAreChecked(t *testing.T) { // WIRE-11
	for name, args := range map[string][]string{
		"concurrency": {"--concurrent-ssa=0"},
		"verify":      {"--full-verify-every=0"},
		"ownership":   {"--ownership-conflict=maybe"},
		"identity":    {"--reference-identity=nobody"},
		"budget":      {"--prune-budget=many"},
		"stage":       {"--custom-apply-stage-kinds=/"},
		"limit":       {"--limit=objects"},
		"limit name":  {"--limit=nothing=1"},
		"remote":      {"--no-remote-bases=false"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := flags(t, args...)
			g.Expect(err).To(MatchError(ContainSubstring("--")))
		})
	}
	g := NewWithT(t)
	f, err := flags(t, "--limit=objects=7", "--custom-apply-stage-kinds=example.com/Widget,Thing")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Limits).To(Equal(map[string]int64{"objects": 7}))
}

func TestDeletionFollowsPolicy(t *testing.T) { // KUS-90
	entries := &meta.Inventory{Entries: []meta.InventoryEntry{{ID: "a_b__ConfigMap", Version: "v1"}}}
	for name, tc := range map[string]struct {
		policy         string
		prune, suspend bool
		inventory      *meta.Inventory
		want           bool
	}{
		"mirror":          {prune: true, inventory: entries, want: true},
		"mirror no prune": {inventory: entries},
		"orphan":          {policy: "Orphan", prune: true, inventory: entries},
		"delete":          {policy: "Delete", inventory: entries, want: true},
		"wait":            {policy: "WaitForTermination", inventory: entries, want: true},
		"suspended":       {policy: "Delete", prune: true, suspend: true, inventory: entries},
		"empty":           {policy: "Delete", prune: true, inventory: &meta.Inventory{}},
		"nothing":         {policy: "Delete", prune: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(kustomize.Deletes(app(func(o *v1.Kustomization) {
				o.Spec.DeletionPolicy, o.Spec.Prune, o.Spec.Suspend, o.Status.Inventory = tc.policy, tc.prune, tc.suspend, tc.inventory
			}))).To(Equal(tc.want))
		})
	}
}
