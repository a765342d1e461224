// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"io/fs"
	"strings"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/kustomize"
	"github.com/gitops-kit/sdk/ssa"
)

const (
	group = "kustomize.toolkit.fluxcd.io"

	ssaKey       = group + "/ssa"
	forceKey     = group + "/force"
	pruneKey     = group + "/prune"
	reconcileKey = group + "/reconcile"

	ours              = "gitops-kit.github.io"
	confirmKey        = ours + "/prune"
	allowEmptyKey     = ours + "/allow-empty"
	budgetKey         = ours + "/prune-budget"
	approvedKey       = ours + "/prune-approved"
	applyPolicyKey    = ours + "/apply-policy"
	deferUnknownKey   = ours + "/defer-unknown-kinds"
	continueOnError   = "ContinueOnError"
	applyFieldManager = "kustomize-controller"

	opApply  = "Apply"
	opUpdate = "Update"
)

// OwnerOf returns the identity under which o's objects are applied.
func OwnerOf(o *v1.Kustomization) ssa.Owner {
	return ssa.Owner{FieldManager: applyFieldManager, LabelGroup: group, Name: o.Name, Namespace: o.Namespace}
}

// BuildOptions turns the spec into options of a build of root.
func BuildOptions(o *v1.Kustomization, root fs.FS) kustomize.Options {
	s := kustomize.Spec{
		TargetNamespace:         o.Spec.TargetNamespace,
		NamePrefix:              o.Spec.NamePrefix,
		NameSuffix:              o.Spec.NameSuffix,
		Components:              o.Spec.Components,
		IgnoreMissingComponents: o.Spec.IgnoreMissingComponents,
	}
	s.BuildMetadata = o.Spec.BuildMetadata
	if c := o.Spec.CommonMetadata; c != nil {
		s.CommonMetadata = kustomize.CommonMetadata{Labels: c.Labels, Annotations: c.Annotations}
	}
	for _, p := range o.Spec.Patches {
		patch := kustomize.Patch{Patch: p.Patch}
		if t := p.Target; t != nil {
			patch.Target = &kustomize.Selector{
				Group: t.Group, Version: t.Version, Kind: t.Kind, Name: t.Name, Namespace: t.Namespace,
				LabelSelector: t.LabelSelector, AnnotationSelector: t.AnnotationSelector,
			}
		}
		s.Patches = append(s.Patches, patch)
	}
	for _, i := range o.Spec.Images {
		s.Images = append(s.Images, kustomize.Image(i))
	}
	return kustomize.Options{Root: root, Dir: PathOf(o), Spec: s}
}

// excluded are the objects that are neither applied nor deleted.
func excluded() ssa.Selector { return ssa.Selector{reconcileKey: "disabled", ssaKey: "Ignore"} }

// PlanOptions turns spec and flags into options of a plan.
func PlanOptions(o *v1.Kustomization, f Flags) ssa.PlanOptions {
	return ssa.PlanOptions{
		Force:             o.Spec.Force,
		Ignore:            ignoreRules(o),
		Takeover:          takeover(f.OverrideManagers),
		Exclude:           excluded(),
		IfNotPresent:      ssa.Selector{ssaKey: "IfNotPresent"},
		ForceSelector:     ssa.Selector{forceKey: "enabled"},
		NoTakeover:        ssa.Selector{ssaKey: "Merge"},
		DeferUnknownKinds: o.Annotations[deferUnknownKey] == "true",
		FailOnOtherOwner:  f.OwnershipConflict == "fail",
		VerifyEvery:       f.FullVerifyEvery,
	}
}

// ApplyOptions turns spec and flags into options of an apply.
func ApplyOptions(o *v1.Kustomization) ssa.ApplyOptions {
	return ssa.ApplyOptions{
		ContinueOnError: o.Annotations[applyPolicyKey] == continueOnError,
		DeferTimeout:    o.GetTimeout(),
		RecreateTimeout: o.GetTimeout(),
	}
}

// takeover lists the managers whose fields become ours, and what such
// managers leave behind.
func takeover(extra []string) ssa.Takeover {
	t := ssa.Takeover{
		Managers: []ssa.ManagerMatch{
			{Name: "kubectl", Operation: opApply},
			{Name: "kubectl", Operation: opUpdate},
			{Name: "before-first-apply", Exact: true, Operation: opUpdate},
			{Name: applyFieldManager, Exact: true, Operation: opUpdate},
		},
		Annotations: []string{
			"kubectl.kubernetes.io/last-applied-configuration",
			group + "/checksum",
			"fluxcd.io/sync-checksum",
		},
		Labels: []string{"fluxcd.io/sync-gc-mark"},
	}
	for _, m := range extra {
		t.Managers = append(t.Managers,
			ssa.ManagerMatch{Name: m, Exact: true, Operation: opApply},
			ssa.ManagerMatch{Name: m, Exact: true, Operation: opUpdate})
	}
	return t
}

// ignoreRules translates spec.ignore. A pointer that is none matches nothing.
func ignoreRules(o *v1.Kustomization) []ssa.PathRule {
	var out []ssa.PathRule
	for _, i := range o.Spec.Ignore {
		r := ssa.PathRule{}
		for _, p := range i.Paths {
			if p == "" || strings.HasPrefix(p, "/") {
				r.Paths = append(r.Paths, p)
			}
		}
		if t := i.Target; t != nil {
			r.Target = ssa.Match{
				Group: t.Group, Version: t.Version, Kind: t.Kind, Name: t.Name, Namespace: t.Namespace,
				LabelSelector: t.LabelSelector, AnnotationSelector: t.AnnotationSelector,
			}
		}
		if len(r.Paths) > 0 {
			out = append(out, r)
		}
	}
	return out
}

// DeleteOptions are those of finalization: guards that ask for confirmation
// do not apply, what forbids deletion does.
func DeleteOptions(o *v1.Kustomization, f Flags, installed string) ssa.DeleteOptions {
	return ssa.DeleteOptions{
		Exclude: excluded(),
		Keep:    ssa.Selector{pruneKey: "disabled"},
		Protect: protected(f.PruneProtect, installed),
	}
}

// PruneOptions turns annotations and flags into the guards of a prune.
func PruneOptions(o *v1.Kustomization, f Flags, installed string) ssa.PruneOptions {
	p := ssa.PruneOptions{
		DeleteOptions: DeleteOptions(o, f, installed),
		Budget:        f.budget,
		Confirm:       ssa.Selector{confirmKey: "confirm"},
		Approved:      o.Annotations[approvedKey],
		AllowEmpty:    f.AllowEmptyRender || o.Annotations[allowEmptyKey] == "true",
	}
	if text, ok := o.Annotations[budgetKey]; ok {
		if b, err := ssa.ParseBudget(text); err == nil {
			p.Budget = b
		}
	}
	return p
}

// protected lists what is never pruned.
func protected(flag, installed string) []ssa.Match {
	switch flag {
	case "none":
		return nil
	case "self", "":
		return selfProtected(installed)
	}
	out := selfProtected(installed)
	for entry := range strings.SplitSeq(flag, ",") {
		kind, g, _ := strings.Cut(strings.TrimSpace(entry), ".")
		switch kind {
		case "", "self":
		default:
			out = append(out, ssa.Match{Group: regexpQuote(g), Kind: regexpQuote(kind)})
		}
	}
	return out
}

func selfProtected(installed string) []ssa.Match {
	names := "kube-system|default"
	if installed != "" {
		names += "|" + regexpQuote(installed)
	}
	return []ssa.Match{
		{Kind: "Namespace", Name: names},
		{Group: `apiextensions\.k8s\.io`, Kind: "CustomResourceDefinition", Name: `.*\.(source|kustomize|helm|notification|image)\.toolkit\.fluxcd\.io`},
	}
}
