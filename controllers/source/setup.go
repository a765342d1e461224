// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitops-kit/sdk/apis/meta"
	v1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/runtime/manager"
	"github.com/gitops-kit/sdk/runtime/reconcile"
)

// Name is the controller's name: of its Deployment, lease, field manager and
// events.
const Name = "source-controller"

// Options returns everything manager.Main needs to run this controller.
func Options() manager.Options {
	f := &Flags{}
	return manager.Options{
		Name:      Name,
		Scheme:    runtime.SchemeBuilder{v1.AddToScheme},
		Flags:     f.AddFlags,
		Validate:  f.Validate,
		Setup:     func(k manager.Kit) error { return Setup(k, *f) },
		Finalizer: meta.Finalizer,
		Kinds:     []client.Object{&v1.GitRepository{}},
		Defaults:  map[string]string{"concurrent": "2"},
		Env: map[string]string{
			"STORAGE_PATH": "storage-path", "STORAGE_ADDRESS": "storage-addr", "STORAGE_ADV_ADDR": "storage-adv-addr",
			"METRICS_ADDR": "metrics-addr", "EVENTS_ADDR": "events-addr",
		},
		Grace: 10 * time.Second,
	}
}

// Setup registers the artifact server and the controllers with a manager.
func Setup(k manager.Kit, f Flags) error {
	storage := NewStorage(f, k.Client, &v1.GitRepositoryList{})
	if err := k.Manager.Add(storage); err != nil {
		return fmt.Errorf("add artifact server: %w", err)
	}
	if !storage.NeedLeaderElection() {
		if err := k.Manager.Add(Sweeper{Storage: storage}); err != nil {
			return fmt.Errorf("add sweep of artifacts: %w", err)
		}
	}
	r, err := NewGitReconciler(k, f, storage)
	if err != nil {
		return err
	}
	return reconcile.Setup(k, r, reconcile.Options[*v1.GitRepository]{
		Watches:         append(reconcile.ByReference(references), includes()),
		OwnedConditions: ownedConditions,
		Event:           endEvent,
	})
}

// NewGitReconciler returns the reconciler of GitRepository objects.
func NewGitReconciler(k manager.Kit, f Flags, storage *Storage) (*GitReconciler, error) {
	r := &GitReconciler{Kit: k, storage: storage, flags: f, conns: git.NewPool(), verdicts: map[types.UID]string{}}
	if f.MirrorMaxBytes != 0 {
		var err error
		if r.mirror, err = newMirror(f.MirrorMaxBytes); err != nil {
			return nil, fmt.Errorf("open mirror: %w", err)
		}
	}
	return r, nil
}

// newMirror opens the mirror below the temporary directory, or a private one
// when another process uses that.
func newMirror(limit int64) (*git.Mirror, error) {
	o := git.MirrorOptions{MaxBytes: limit}
	m, err := git.NewMirror(filepath.Join(os.TempDir(), "git-mirror"), o)
	if !errors.Is(err, git.ErrMirrorLocked) {
		return m, err
	}
	dir, err := os.MkdirTemp("", "git-mirror-")
	if err != nil {
		return nil, err
	}
	return git.NewMirror(dir, o)
}
