// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tour is the demonstration behind make demo: a control plane, the
// manager and a Git server on this machine, and the life of one application
// from the first commit to the removal of a component. Every step verifies
// what it shows.
package tour

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitops-kit/sdk/examples/internal/console"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// Options configure [Run]. The zero value starts a control plane of its own
// and ends it at the end.
type Options struct {
	// Out is where the tour is shown; nil: standard output.
	Out io.Writer
	// Kubeconfig is the file of an existing cluster; empty: start one.
	Kubeconfig string
	// Keep leaves everything running until ctx is done.
	Keep bool
}

const (
	// namespace holds the two objects that describe the deployment.
	namespace = "gitops-demo"
	// appNamespace is what the production overlay names.
	appNamespace = "shop-production"
	// patience bounds each wait.
	patience = 2 * time.Minute
)

// tour is what the steps hand to each other.
type tour struct {
	*console.Console
	options Options
	dir     string // scratch, removed at the end

	kubeconfig string
	existing   bool
	entered    bool                         // the demo's namespace is the demo's
	installed  []*unstructured.Unstructured // definitions that were not there
	client     client.WithWatch
	git        *gitserver.Server
	repo       *gitserver.Repo
	manager    *manager
	closers    []func() error

	revision string // of the last commit pushed
	before   map[string]mark
}

// Run shows the tour and returns the first step that could not be verified.
func Run(ctx context.Context, o Options) (err error) {
	if o.Out == nil {
		o.Out = os.Stdout
	}
	dir, err := os.MkdirTemp("", "gitops-kit-demo-")
	if err != nil {
		return err
	}
	t := &tour{Console: console.New(o.Out), options: o, dir: dir}
	defer func() { err = errors.Join(err, t.close(ctx)) }()
	for _, section := range []struct {
		title string
		steps []step
	}{
		{"Starting", []step{{"control plane", t.startCluster}, {"custom resources", t.installCRDs}, {"git server", t.startGit}, {"manager", t.startManager}}},
		{"Deploying the shop from git", []step{
			{"declared", t.declare},
			{"commit found", t.commitFound},
			{"artifact stored", t.artifactStored},
			{"planned and applied", t.objectsApplied},
			{"rollout healthy", t.rolloutHealthy},
		}},
		{"Pushing a commit: a new image", []step{{"pushed", t.pushImage}, {"commit found", t.commitFound}, {"rollout healthy", t.imageRolledOut}}},
		{"Somebody edits and deletes live objects", []step{{"damage done", t.damage}, {"drift corrected", t.driftCorrected}}},
		{"Pushing a broken manifest", []step{{"pushed", t.pushBroken}, {"commit found", t.commitFound}, {"refused", t.brokenRefused}, {"nothing changed", t.nothingChanged}}},
		{"Reverting it", []step{{"pushed", t.pushRevert}, {"commit found", t.commitFound}, {"healthy again", t.rolloutHealthy}}},
		{"Removing a component", []step{{"pushed", t.pushRemoval}, {"commit found", t.commitFound}, {"pruned", t.pruned}, {"the rest untouched", t.restUntouched}}},
	} {
		t.Section(section.title)
		for _, s := range section.steps {
			if err := t.Step(s.name, func(update func(string, ...any)) (string, error) { return s.run(ctx, update) }); err != nil {
				t.explain()
				return fmt.Errorf("%s: %s: %w", section.title, s.name, err)
			}
		}
	}
	t.Timeline()
	return t.end(ctx)
}

// step is one line of the tour; run returns what it verified.
type step struct {
	name string
	run  func(ctx context.Context, update func(format string, args ...any)) (string, error)
}

// end tells how to look around, and stays up if asked to.
func (t *tour) end(ctx context.Context) error {
	kubectl := "kubectl --kubeconfig " + t.kubeconfig
	if len(filepath.SplitList(t.kubeconfig)) > 1 {
		kubectl = "KUBECONFIG=" + t.kubeconfig + " kubectl"
	}
	if !t.options.Keep {
		t.Printf("\nEvery step was verified. With make demo KEEP=1 everything stays up, to look around:\n\n")
		if !t.existing {
			kubectl = "kubectl --kubeconfig FILE"
		}
	} else {
		t.Printf("\nEvery step was verified. Everything stays up until you press Ctrl-C:\n\n")
	}
	t.Printf("  %s -n %s get gitrepositories,kustomizations\n", kubectl, namespace)
	t.Printf("  %s -n %s get all\n", kubectl, appNamespace)
	if !t.options.Keep {
		return nil
	}
	t.Printf("  git clone %s\n", t.repo.URL())
	t.Printf("  manager log: %s\n", t.manager.logFile)
	<-ctx.Done()
	return nil
}

// explain shows what the manager said last.
func (t *tour) explain() {
	if t.manager != nil {
		t.Note("%s", t.manager.tail(2000))
	}
}

// close undoes in reverse order what the steps started.
func (t *tour) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var errs []error
	if t.existing && t.entered {
		errs = append(errs, t.removeFromCluster(ctx))
	}
	for _, undo := range slices.Backward(t.closers) {
		errs = append(errs, undo())
	}
	return errors.Join(append(errs, os.RemoveAll(t.dir))...)
}
