// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/gitops-kit/sdk/ssa"
)

// Flags are the kustomize controller's own flags. AddFlags sets the defaults.
type Flags struct {
	// ConcurrentSSA is how many objects of one set are written at a time.
	ConcurrentSSA int
	// HTTPRetry is how often a download is tried again.
	HTTPRetry int
	// ArtifactCacheBytes bounds the extracted artifacts kept on disk.
	ArtifactCacheBytes int64
	// NoRemoteBases refuses remote entries in kustomizations.
	NoRemoteBases bool
	// OverrideManagers are field managers whose fields are taken over.
	OverrideManagers []string
	// CustomStageKinds is the text of --custom-apply-stage-kinds.
	CustomStageKinds string
	// FullVerifyEvery says in which n-th run every object is dry-run.
	FullVerifyEvery int
	// PruneBudget, PruneProtect and AllowEmptyRender are the prune guards.
	PruneBudget      string
	PruneProtect     string
	AllowEmptyRender bool
	// OwnershipConflict is warn or fail.
	OwnershipConflict string
	// RestrictDependsOn forbids dependencies in other namespaces.
	RestrictDependsOn bool
	// ReferenceIdentity is controller or tenant: who reads substituteFrom.
	ReferenceIdentity string
	// PruneSuccessorWait, TeardownOrderTimeout and DeletionOrphanTimeout bound
	// waits; 0 turns each off.
	PruneSuccessorWait    time.Duration
	TeardownOrderTimeout  time.Duration
	DeletionOrphanTimeout time.Duration
	// InventorySpillBytes is the size from which on an inventory is kept in
	// Secrets. 0: never.
	InventorySpillBytes int
	// Limits holds --limit values by name.
	Limits map[string]int64

	budget ssa.Budget
	stages []ssa.Stage
	limits []string
}

var limitNames = []string{ //nolint:gochecknoglobals // constant
	"tar-compressed", "tar-expanded", "tar-entries",
	"build-file", "build-files", "build-total",
	"doc-expanded", "yaml-depth", "docs", "objects", "base-depth", "object",
}

// AddFlags registers the flags and sets their defaults.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	fs.IntVar(&f.ConcurrentSSA, "concurrent-ssa", 4, "how many objects of one set are written at a time")
	fs.IntVar(&f.HTTPRetry, "http-retry", 9, "how often a download of an artifact is tried again")
	fs.Int64Var(&f.ArtifactCacheBytes, "artifact-cache-bytes", 2<<30, "bytes of extracted artifacts kept on disk")
	fs.BoolVar(&f.NoRemoteBases, "no-remote-bases", true, "refuse remote entries in kustomizations")
	fs.StringArrayVar(&f.OverrideManagers, "override-manager", nil, "field manager whose fields are taken over, repeatable")
	fs.StringVar(&f.CustomStageKinds, "custom-apply-stage-kinds", "", "kinds applied in a stage of their own: group/Kind,Kind")
	fs.IntVar(&f.FullVerifyEvery, "full-verify-every", 10, "dry-run every object in every n-th run")
	fs.StringVar(&f.PruneBudget, "prune-budget", "", "refuse to prune more than n objects, n[/p%], empty for no budget")
	fs.StringVar(&f.PruneProtect, "prune-protect", "self", "what is never pruned: self, none, or kind.group,...")
	fs.BoolVar(&f.AllowEmptyRender, "allow-empty-render", false, "an empty build prunes everything")
	fs.StringVar(&f.OwnershipConflict, "ownership-conflict", "warn", "objects of another Kustomization: warn or fail")
	fs.BoolVar(&f.RestrictDependsOn, "restrict-depends-on", false, "forbid dependencies in other namespaces")
	fs.StringVar(&f.ReferenceIdentity, "reference-identity", "controller", "who reads substituteFrom: controller or tenant")
	fs.DurationVar(&f.PruneSuccessorWait, "prune-successor-wait", 30*time.Second, "how long pruning waits for sets that may take an object over")
	fs.DurationVar(&f.TeardownOrderTimeout, "teardown-order-timeout", 10*time.Minute, "how long a deleted set waits for deleted dependents")
	fs.DurationVar(&f.DeletionOrphanTimeout, "deletion-orphan-timeout", 10*time.Minute, "when to give up deleting objects nobody can reach")
	fs.IntVar(&f.InventorySpillBytes, "inventory-spill-bytes", 512<<10, "size from which on an inventory is kept in Secrets, 0 for never")
	fs.StringArrayVar(&f.limits, "limit", nil, "change a limit, name=value, repeatable; negative for none")
}

// Validate checks the values; it does no I/O.
func (f *Flags) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if f.ConcurrentSSA < 1 {
		bad("--concurrent-ssa %d is below 1", f.ConcurrentSSA)
	}
	if f.FullVerifyEvery < 1 {
		bad("--full-verify-every %d is below 1", f.FullVerifyEvery)
	}
	if f.OwnershipConflict != "warn" && f.OwnershipConflict != "fail" {
		bad("--ownership-conflict %q is neither warn nor fail", f.OwnershipConflict)
	}
	if f.ReferenceIdentity != "controller" && f.ReferenceIdentity != "tenant" {
		bad("--reference-identity %q is neither controller nor tenant", f.ReferenceIdentity)
	}
	if !f.NoRemoteBases {
		bad("--no-remote-bases=false: remote bases are not part of this build")
	}
	var err error
	if f.budget, err = ssa.ParseBudget(f.PruneBudget); err != nil {
		bad("--prune-budget: %w", err)
	}
	if f.stages, err = stages(f.CustomStageKinds); err != nil {
		bad("--custom-apply-stage-kinds: %w", err)
	}
	f.Limits = map[string]int64{}
	for _, l := range f.limits {
		name, text, _ := strings.Cut(l, "=")
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case !slices.Contains(limitNames, name):
			bad("--limit %q: unknown limit", name)
		case err != nil || n == 0:
			bad("--limit %q: %q is not a number other than 0", name, text)
		default:
			f.Limits[name] = n
		}
	}
	return errors.Join(errs...)
}

// stages are the apply stages with those of --custom-apply-stage-kinds.
func stages(kinds string) ([]ssa.Stage, error) {
	if kinds == "" {
		return nil, nil
	}
	match, err := ssa.ParseGroupKinds(kinds)
	if err != nil {
		return nil, err
	}
	s := ssa.DefaultStages()
	s[2].Match = match.Match
	return s, nil
}
