// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/manager"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/artifact/fetch"
	"github.com/gitops-kit/sdk/kustomize"
	"github.com/gitops-kit/sdk/runtime/cel"
	"github.com/gitops-kit/sdk/runtime/features"
	"github.com/gitops-kit/sdk/runtime/manager"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/untar"
)

// Name is the controller's name: of its Deployment, lease and events.
const Name = "kustomize-controller"

// statusFieldManager owns status and finalizers of Kustomizations.
const statusFieldManager = "gotk-kustomize-controller"

// Options returns everything manager.Main needs to run this controller.
func Options() manager.Options {
	f := &Flags{}
	return manager.Options{
		Name:      Name,
		Scheme:    runtime.SchemeBuilder{v1.AddToScheme, sourcev1.AddToScheme},
		Flags:     f.AddFlags,
		Validate:  f.Validate,
		Setup:     func(k manager.Kit) error { return Setup(k, *f) },
		Finalizer: meta.Finalizer,
		Gates:     gates(),
		Kinds:     []client.Object{&v1.Kustomization{}},
		Profile: map[string]string{
			"enable-source-acl": "true", "default-service-account": "default", "restrict-depends-on": "true",
			"ownership-conflict": "fail", "reference-identity": "tenant",
		},
	}
}

func gates() []features.Gate {
	return []features.Gate{
		{Name: "DisableStatusPollerCache", Default: true, Description: "accepted, without effect"},
		{Name: "DisableFailFastBehavior", Description: "a health check waits for all objects when one has failed"},
		{Name: strictSubstitution, Default: true, Description: "a variable without value and default is an error"},
		{Name: "GroupChangeLog", Description: "accepted, without effect"},
		{Name: "AdditiveCELDependencyCheck", Description: "readyExpr is evaluated in addition to the built-in rule"},
		{Name: "ExternalArtifact", Description: "sources of kind ExternalArtifact"},
		{Name: "CancelHealthCheckOnNewRevision", Description: "a new revision ends a health check"},
		{Name: "DisableConfigWatchers", Description: "changes of referenced ConfigMaps and Secrets start no run"},
		{Name: "DirectSourceFetch", Description: "sources are read from the API server"},
		{Name: "MigrateAPIVersion", Description: "managed fields of older API versions are rewritten"},
	}
}

// Setup registers the controller with a manager.
func Setup(k manager.Kit, f Flags) error {
	r, err := New(k, f)
	if err != nil {
		return err
	}
	if err := k.Manager.Add(ctrl.RunnableFunc(r.watchEnvironment)); err != nil {
		return err
	}
	return reconcile.Setup(k, r, reconcile.Options[*v1.Kustomization]{
		Watches:              watches(k),
		FieldManager:         statusFieldManager,
		OwnedConditions:      []string{meta.HealthyCondition},
		ResumeKey:            r.sourceRevision,
		PreemptOnNewRevision: k.Gates.Enabled("CancelHealthCheckOnNewRevision"),
		Event:                r.endEvent,
	})
}

// New returns a reconciler.
func New(k manager.Kit, f Flags) (*Reconciler, error) {
	fetcher, err := fetch.New(fetch.Options{
		HostOverride: os.Getenv("SOURCE_CONTROLLER_LOCALHOST"),
		Retries:      retries(f.HTTPRetry),
		MaxBytes:     f.Limits["tar-compressed"],
		Tar:          untar.Limits{Compressed: f.Limits["tar-compressed"], Expanded: f.Limits["tar-expanded"], Entries: f.Limits["tar-entries"]},
	})
	if err != nil {
		return nil, fmt.Errorf("SOURCE_CONTROLLER_LOCALHOST: %w", err)
	}
	cache := fetch.NewCache(fetch.CacheOptions{
		Dir:     filepath.Join(os.TempDir(), "kustomize-artifacts"),
		Fetcher: fetcher,
		Bytes:   f.ArtifactCacheBytes,
	})
	return &Reconciler{
		Kit:         k,
		flags:       f,
		artifacts:   cache,
		builder:     kustomize.New(kustomize.BuilderOptions{}),
		memo:        ssa.NewMemo(ssa.MemoOptions{}),
		expressions: cel.New(cel.Options{}),
		seen:        map[types.UID]*memory{},
	}, nil
}

// retries maps the flag's 0, which means never, to that of the engine.
func retries(n int) int {
	if n <= 0 {
		return -1
	}
	return n
}

// buildLimits applies --limit to a build.
func (f *Flags) buildLimits() kustomize.Limits {
	return kustomize.Limits{
		File:        f.Limits["build-file"],
		Files:       f.Limits["build-files"],
		Total:       f.Limits["build-total"],
		DocExpanded: f.Limits["doc-expanded"],
		Depth:       f.Limits["yaml-depth"],
		Docs:        f.Limits["docs"],
		Objects:     f.Limits["objects"],
		BaseDepth:   f.Limits["base-depth"],
	}
}
