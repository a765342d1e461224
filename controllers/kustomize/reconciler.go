// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact/fetch"
	"github.com/gitops-kit/sdk/kustomize"
	"github.com/gitops-kit/sdk/runtime/cel"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
)

// Reconciler applies Kustomizations. Create it with New; it is safe for
// concurrent use.
type Reconciler struct {
	reconcile.Kit
	flags       Flags
	artifacts   *fetch.Cache
	builder     *kustomize.Builder
	memo        *ssa.Memo
	expressions *cel.Compiler

	results results
	env     atomic.Pointer[ssa.EnvironmentWatcher] // of this cluster; nil until the manager runs

	mu   sync.Mutex
	seen map[types.UID]*memory

	canSpill *bool // whether the installed CRD allows it; nil until asked
}

// memory is what one object's runs tell the next one. It is lost with the
// process, which then verifies more.
type memory struct {
	verified  ssa.Verification
	announced string // revision, generation and token of the last success event
}

type (
	// Step is a step of a run.
	Step = reconcile.Step[*v1.Kustomization]
	// Steps is a whole run.
	Steps = []Step
)

// run is what the steps of one run hand to each other. It survives a parked
// health check.
type run struct {
	*Reconciler
	started  time.Time
	before   *v1.Kustomization // as stored
	source   *meta.Artifact
	origin   string // revision of the origin, from the artifact's metadata
	tree     *fetch.Lease
	objects  []*unstructured.Unstructured
	built    *kustomize.Result
	digest   string // of the built objects
	manager  *ssa.Manager
	old      inventory.Set
	complete bool // the inventory is all there is
	ledger   *inventory.Ledger
	plan     *ssa.Plan
	invalid  error // what the plan says against objects
	prune    *ssa.DeletePlan
	applied  *ssa.Result
	targets  []ssa.Target
	changes  []string  // lines of the change set
	waiting  time.Time // start of the health check
}

// Reconcile brings the cluster to the state that o's source describes.
func (r *Reconciler) Reconcile(ctx context.Context, o *v1.Kustomization) (reconcile.Result, error) {
	x := &run{Reconciler: r, started: time.Now(), before: o.DeepCopy()}
	if p, ok := reconcile.Resumed[*parked](ctx); ok {
		x = p.run
	}
	defer x.close()
	res, err := reconcile.Do(ctx, o, x.steps()...)
	if err != nil {
		x.failed(o, err)
	}
	return res, err
}

// Steps lists the steps of a run, for tests and documentation.
func (r *Reconciler) Steps() Steps { return (&run{Reconciler: r}).steps() }

func (x *run) steps() Steps {
	return Steps{
		{Name: "validate", Run: x.validate},
		{Name: "source", Run: x.findSource},
		{Name: "dependencies", Run: x.dependencies},
		{Name: "fetch", Run: x.fetch},
		{Name: "build", Run: x.build},
		{Name: "identity", Run: x.identity},
		{Name: "plan", Run: x.planAll},
		{Name: "apply", Run: x.apply},
		{Name: "prune", Run: x.pruneAll},
		{Name: "health", Run: x.health},
		{Name: "done", Run: x.done},
	}
}

// close gives back what the run holds on disk.
func (x *run) close() {
	if x.tree != nil {
		x.tree.Release()
		x.tree = nil
	}
}

// memory returns what is remembered of an object.
func (r *Reconciler) memory(uid types.UID) *memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.seen[uid]
	if m == nil {
		m = &memory{}
		r.seen[uid] = m
	}
	return m
}

func (r *Reconciler) forget(uid types.UID) {
	r.results.drop(uid)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.seen, uid)
}
