// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command quickstart is a complete GitOps controller: for each App it fetches
// the artifact of a GitRepository, builds a directory of it, applies the
// objects as the App's service account, and waits until they are healthy.
package main

import (
	"context"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/fetch"
	v1 "github.com/gitops-kit/sdk/examples/quickstart/v1"
	"github.com/gitops-kit/sdk/kustomize"
	"github.com/gitops-kit/sdk/runtime/client"
	"github.com/gitops-kit/sdk/runtime/manager"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/ssa"
)

// Reconciler holds what lives as long as the process.
type Reconciler struct {
	manager.Kit
	*kustomize.Builder
	*fetch.Cache
}

// run is what the steps of one reconcile hand to each other.
type run struct {
	*Reconciler
	src fetch.Ref
	mgr *ssa.Manager
	res *ssa.Result
}

type step = reconcile.Step[*v1.App]

// Reconcile is a list of named steps.
func (r *Reconciler) Reconcile(ctx context.Context, app *v1.App) (reconcile.Result, error) {
	x := &run{Reconciler: r}
	return reconcile.Do(ctx, app, step{Name: "source", Run: x.source}, step{Name: "apply", Run: x.apply}, step{Name: "health", Run: x.health})
}

func (x *run) source(ctx context.Context, app *v1.App) (next reconcile.Result, err error) {
	var src sourcev1.GitRepository
	if err := x.Client.Get(ctx, app.Source(), &src); err != nil {
		return next, err
	}
	if src.Status.Artifact == nil {
		return next, reconcile.Waiting("source has no artifact yet")
	}
	x.src, app.Status.Revision = artifact.RefOf(src.Status.Artifact), src.Status.Artifact.Revision
	return next, nil
}

func (x *run) apply(ctx context.Context, app *v1.App) (next reconcile.Result, err error) {
	tree, err := x.Tree(ctx, x.src) // verified, read-only, one copy per digest
	if err != nil {
		return next, err
	}
	defer tree.Release()
	built, err := x.Build(ctx, kustomize.Options{Root: tree.Root().FS(), Dir: app.Spec.Path})
	if err != nil {
		return next, err
	}
	c, err := x.Pool.Get(ctx, client.Target{ServiceAccount: app.Account()}) // the tenant's identity, for everything below
	if err != nil {
		return next, err
	}
	cluster, err := client.Shared(c, newCluster)
	if err != nil {
		return next, err
	}
	owner := ssa.Owner{FieldManager: x.Name, LabelGroup: v1.GroupVersion.Group, Name: app.Name, Namespace: app.Namespace}
	if x.mgr, err = ssa.NewManager(cluster, ssa.Options{Owner: owner}); err != nil {
		return next, err
	}
	plan, err := x.mgr.Plan(ctx, built.Unstructured(), ssa.PlanOptions{Provenance: built.Source})
	if err == nil {
		x.res, err = x.mgr.Apply(ctx, plan, ssa.ApplyOptions{})
	}
	return next, err
}

// newCluster runs once for each pooled client, so that all its users share
// one limiter and one set of watches.
func newCluster(c *client.Client) (ssa.Cluster, error) {
	return ssa.NewCluster(c.Config, ssa.ClusterOptions{Mapper: c.Mapper})
}

func (x *run) health(ctx context.Context, app *v1.App) (reconcile.Result, error) {
	if w, ok := reconcile.Resumed[*ssa.Waiter](ctx); ok {
		return reconcile.Success("Applied revision: %s", app.Status.Revision), w.Err()
	}
	return reconcile.Park(x.mgr.StartWait(ctx, x.res.Targets(), ssa.WaitOptions{})), nil // holds no worker
}

func options() manager.Options {
	return manager.Options{
		Name:   "app-controller",
		Scheme: runtime.SchemeBuilder{v1.AddToScheme, sourcev1.AddToScheme},
		Kinds:  []ctrlclient.Object{&v1.App{}},
		Setup: func(k manager.Kit) error {
			r := &Reconciler{k, kustomize.New(kustomize.BuilderOptions{}), fetch.NewCache(fetch.CacheOptions{})}
			return reconcile.Setup(k, r, reconcile.Options[*v1.App]{
				Watches: []reconcile.Watch{reconcile.BySourceRevision(&sourcev1.GitRepository{}, (*v1.App).Source)},
			})
		},
	}
}

func main() { os.Exit(manager.Main(options())) }
