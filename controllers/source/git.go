// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/gitops-kit/sdk/apis/meta"
	v1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/reconcile"
)

const gitKind = "gitrepository"

// GitReconciler makes artifacts from Git repositories. Create it with
// NewGitReconciler; it is safe for concurrent use.
type GitReconciler struct {
	reconcile.Kit
	storage *Storage
	flags   Flags
	mirror  *git.Mirror // nil: none
	conns   *git.Pool

	mu       sync.Mutex
	verdicts map[types.UID]string // by SRC-27's key
}

type gitStep = reconcile.Step[*v1.GitRepository]

// gitRun is what the steps of one run hand to each other.
type gitRun struct {
	*GitReconciler
	store    *artifact.Store
	before   *v1.GitRepository // as stored
	access   *access           // credentials and keys, read once
	client   *git.Client
	resolved *git.Resolved
	includes []include
	inputs   InputKey
	tree     string // temporary directory
	checkout *git.Checkout
	made     *meta.Artifact
}

// Reconcile brings o's artifact up to date with its repository.
func (r *GitReconciler) Reconcile(ctx context.Context, o *v1.GitRepository) (reconcile.Result, error) {
	x := &gitRun{GitReconciler: r, before: o.DeepCopy()}
	defer x.close()
	ctx, cancel := context.WithTimeout(ctx, 4*timeoutOf(o))
	defer cancel()
	return reconcile.Do(ctx, o,
		gitStep{Name: "validate", Run: x.validate},
		gitStep{Name: "storage", Run: x.stored},
		gitStep{Name: "connect", Run: x.connect},
		gitStep{Name: "include", Run: x.include},
		gitStep{Name: "resolve", Run: x.resolve},
		gitStep{Name: "fetch", Run: x.fetch},
		gitStep{Name: "compose", Run: x.compose},
		gitStep{Name: "store", Run: x.pack},
	)
}

// Finalize removes the artifacts of a deleted repository.
func (r *GitReconciler) Finalize(ctx context.Context, o *v1.GitRepository) (reconcile.Result, error) {
	store, err := r.storage.Store()
	if err != nil {
		return reconcile.Result{}, err
	}
	if _, err = store.Remove(ctx, keyOf(o, "")); err != nil {
		reconcile.Emit(ctx, event(o, events.Warning, "GarbageCollectionFailed", err.Error(), nil))
		return reconcile.Result{}, err
	}
	r.forget(o.UID)
	reconcile.Emit(ctx, event(o, events.Trace, "GarbageCollectionSucceeded", "garbage collected artifacts for deleted resource", nil))
	return reconcile.Result{}, nil
}

// validate refuses what no retry can heal.
func (x *gitRun) validate(ctx context.Context, o *v1.GitRepository) (next reconcile.Result, err error) {
	if conditions.IsFalse(o, v1.SourceVerifiedCondition) || o.Spec.Verification == nil {
		conditions.Delete(o, v1.SourceVerifiedCondition)
	}
	if o.Spec.Verification == nil {
		o.Status.SourceVerificationMode = nil
	}
	if err := Validate(o, x.Gates.Enabled, x.Config.AllowHTTP); err != nil {
		return next, x.fail(o, StepFetch, err)
	}
	return next, nil
}

// stored makes sure that the artifact in the status is still there and
// intact, and removes superseded ones.
func (x *gitRun) stored(ctx context.Context, o *v1.GitRepository) (next reconcile.Result, err error) {
	if x.store, err = x.storage.Store(); err != nil {
		return next, x.fail(o, StepStorage, err)
	}
	a := o.Status.Artifact
	if a == nil {
		conditions.Delete(o, v1.ArtifactInStorageCondition, v1.StorageOperationFailedCondition)
		return next, nil
	}
	err = x.store.Check(ctx, a, artifact.Quick)
	switch {
	case errors.Is(err, artifact.ErrCorrupt):
		reconcile.Emit(ctx, event(o, events.Warning, "ArtifactVerificationFailed", fmt.Sprintf("failed to verify integrity of artifact: %v", err), nil))
		fallthrough
	case errors.Is(err, artifact.ErrNotFound):
		o.Status.Artifact = nil
		conditions.Delete(o, v1.ArtifactInStorageCondition, v1.StorageOperationFailedCondition)
		return next, x.progress(ctx, o, "building artifact: disappeared from storage")
	case err != nil:
		return next, x.fail(o, StepStorage, err)
	}
	conditions.Delete(o, v1.StorageOperationFailedCondition)
	if k, err := artifact.ParseKey(a.Path); err == nil {
		a.URL = x.store.URL(k)
	}
	return next, x.collect(ctx, o)
}

func (x *gitRun) collect(ctx context.Context, o *v1.GitRepository) error {
	ctx, cancel := context.WithTimeout(ctx, collectBudget)
	defer cancel()
	done, err := x.store.Collect(ctx, keyOf(o, ""), o.Status.Artifact)
	switch {
	case err != nil:
		reconcile.Emit(ctx, event(o, events.Warning, "GarbageCollectionFailed", err.Error(), nil))
	case done != nil && len(done.Removed) > 0:
		reconcile.Emit(ctx, event(o, events.Trace, "GarbageCollectionSucceeded", fmt.Sprintf("garbage collected %d artifacts", len(done.Removed)), nil))
	}
	return nil
}

// connect reads the referenced Secrets and makes the client.
func (x *gitRun) connect(ctx context.Context, o *v1.GitRepository) (next reconcile.Result, err error) {
	if x.access, err = x.readAccess(ctx, o); err == nil {
		x.client, err = x.newClient(o, x.access)
	}
	if err != nil {
		return next, x.fail(o, StepFetch, err)
	}
	return next, nil
}

// resolve asks the server which commit is wanted; nothing is transferred.
func (x *gitRun) resolve(ctx context.Context, o *v1.GitRepository) (next reconcile.Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeoutOf(o))
	defer cancel()
	x.resolved, err = x.client.Resolve(ctx, ReferenceOf(o), git.ResolveOptions{Known: knownRevision(o)})
	if err != nil {
		return next, x.fail(o, StepFetch, err)
	}
	revision := x.resolved.Revision.String()
	x.inputs = Inputs(o, x.included()...)
	same := o.Status.Artifact.HasRevision(revision) && x.inputs.Equal(Observed(o))
	if same && x.verified(o, revision) {
		conditions.Delete(o, v1.FetchFailedCondition, v1.ArtifactOutdatedCondition)
		return x.unchanged(ctx, o), nil
	}
	if o.Status.Artifact != nil && !same {
		reason, text := "NewRevision", fmt.Sprintf("new upstream revision '%s'", revision)
		if o.Status.Artifact.HasRevision(revision) && x.inputs.includeChanged(Observed(o)) {
			reason, text = "IncludeChange", "included artifacts differ from last observed includes"
		}
		conditions.MarkTrue(o, v1.ArtifactOutdatedCondition, reason, "%s", text)
	}
	if same {
		return next, nil // only the verdict is missing
	}
	return next, x.progress(ctx, o, "building artifact: new upstream revision '%s'", revision)
}

// fetch transfers one commit and verifies it before anything of it is used.
// Without includes it goes straight into the artifact, else into a directory.
func (x *gitRun) fetch(ctx context.Context, o *v1.GitRepository) (next reconcile.Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeoutOf(o))
	defer cancel()
	step := StepFetch
	if len(x.includes) == 0 {
		step, err = x.export(ctx, o)
	}
	if len(x.includes) > 0 || errors.Is(err, errMoved) {
		step, err = x.checkOut(ctx, o)
	}
	if err != nil {
		return next, x.fail(o, step, err)
	}
	conditions.Delete(o, v1.FetchFailedCondition)
	x.recordVerdict(ctx, o)
	x.note(ctx, o)
	return next, nil
}

// pack stores the tree and hands the new artifact to the status.
func (x *gitRun) pack(ctx context.Context, o *v1.GitRepository) (next reconcile.Result, err error) {
	if x.made == nil {
		if x.made, err = x.packTree(ctx, o); err != nil {
			return next, x.fail(o, StepStore, err)
		}
	}
	revision := x.made.Revision
	o.Status.Artifact = x.made
	x.inputs.Record(o)
	conditions.Delete(o, v1.StorageOperationFailedCondition, v1.ArtifactOutdatedCondition, v1.IncludeUnavailableCondition)
	conditions.MarkTrue(o, v1.ArtifactInStorageCondition, meta.SucceededReason, "stored artifact for revision '%s'", revision)
	x.announce(ctx, o, fmt.Sprintf("stored artifact for commit '%s'", subject(x.checkout.Commit.Message)))
	return succeeded(o), nil
}

// unchanged ends a run that found nothing to do.
func (x *gitRun) unchanged(ctx context.Context, o *v1.GitRepository) reconcile.Result {
	conditions.MarkTrue(o, v1.ArtifactInStorageCondition, meta.SucceededReason, "stored artifact for revision '%s'", o.Status.Artifact.Revision)
	x.announce(ctx, o, conditions.Message(o, v1.ArtifactInStorageCondition))
	return succeeded(o)
}

func (x *gitRun) close() {
	if x.client != nil {
		_ = x.client.Close()
	}
	if x.tree != "" {
		_ = os.RemoveAll(x.tree)
	}
}
