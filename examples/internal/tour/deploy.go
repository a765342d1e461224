// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tour

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/examples/shop"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

const fieldOwner = client.FieldOwner("gitops-kit-demo")

var key = types.NamespacedName{Namespace: namespace, Name: "shop"}

func (t *tour) startGit(ctx context.Context, _ func(string, ...any)) (string, error) {
	srv, err := gitserver.Run(ctx, gitserver.Options{})
	if err != nil {
		return "", err
	}
	t.git = srv
	t.closers = append(t.closers, func() error { srv.Stop(); return nil })
	files, err := shop.Files()
	if err != nil {
		return "", err
	}
	t.repo = srv.Repo("shop")
	if err := t.commit(files, "Open the shop"); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %d files", t.repo.URL(), len(files)), nil
}

// commit pushes files on top of main.
func (t *tour) commit(files map[string]string, message string) error {
	id := t.repo.Commit("main", gitserver.Files(files), gitserver.CommitOptions{
		Message: message, When: time.Now(), Author: gitserver.Signature{Name: "Demo", Email: "demo@example.com"},
	})
	t.revision = "main@sha1:" + string(id)
	return t.git.Err()
}

// declare creates the two objects that a user would write.
func (t *tour) declare(ctx context.Context, _ func(string, ...any)) (string, error) {
	interval := meta.Duration{Duration: 10 * time.Minute}
	retry := meta.Duration{Duration: 5 * time.Second}
	timeout := meta.Duration{Duration: 2 * time.Minute}
	objects := []client.Object{
		&sourcev1.GitRepository{
			ObjectMeta: metav1.ObjectMeta{Name: key.Name, Namespace: key.Namespace},
			Spec:       sourcev1.GitRepositorySpec{URL: t.repo.URL(), Interval: interval, Reference: &sourcev1.GitRepositoryRef{Branch: "main"}},
		},
		&kustomizev1.Kustomization{
			ObjectMeta: metav1.ObjectMeta{Name: key.Name, Namespace: key.Namespace},
			Spec: kustomizev1.KustomizationSpec{
				SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: key.Name},
				Path:      "./overlays/production", Interval: interval, RetryInterval: &retry, Timeout: &timeout, Prune: true, Wait: true,
			},
		},
	}
	for _, o := range objects {
		if err := t.client.Create(ctx, o); err != nil {
			return "", err
		}
	}
	return "GitRepository and Kustomization " + key.String(), nil
}

// commitFound asks the source to look now, as a webhook would, and waits until
// it has the commit that was pushed last.
func (t *tour) commitFound(ctx context.Context, update func(string, ...any)) (string, error) {
	if err := t.request(ctx, &sourcev1.GitRepository{}); err != nil {
		return "", err
	}
	err := t.poll(ctx, func(ctx context.Context) (bool, error) {
		var repo sourcev1.GitRepository
		if err := t.client.Get(ctx, key, &repo); err != nil {
			return false, err
		}
		update("%s", readiness(repo.Status.Conditions))
		return repo.Status.Artifact.HasRevision(t.revision), stalled(repo.Status.Conditions)
	})
	return short(t.revision), err
}

// artifactStored downloads the artifact that the status names.
func (t *tour) artifactStored(ctx context.Context, _ func(string, ...any)) (string, error) {
	var repo sourcev1.GitRepository
	if err := t.client.Get(ctx, key, &repo); err != nil {
		return "", err
	}
	a := repo.Status.Artifact
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL, nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<30))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK || a.Size == nil || n != *a.Size {
		return "", fmt.Errorf("%s: status %d, %d bytes", a.URL, resp.StatusCode, n)
	}
	return fmt.Sprintf("%d bytes, %s", n, short(a.Digest)), nil
}

// objectsApplied waits until the inventory holds the application.
func (t *tour) objectsApplied(ctx context.Context, update func(string, ...any)) (string, error) {
	kinds := map[string]int{}
	err := t.poll(ctx, func(ctx context.Context) (bool, error) {
		var ks kustomizev1.Kustomization
		if err := t.client.Get(ctx, key, &ks); err != nil {
			return false, err
		}
		update("%s", readiness(ks.Status.Conditions))
		clear(kinds)
		if ks.Status.Inventory != nil {
			for _, e := range ks.Status.Inventory.Entries {
				kinds[e.ID[strings.LastIndexByte(e.ID, '_')+1:]]++
			}
		}
		found, err := t.deployments(ctx)
		return len(found) == 4 && kinds["Deployment"] == 4, errors.Join(err, stalled(ks.Status.Conditions))
	})
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		parts = append(parts, fmt.Sprintf("%d %s", kinds[k], k))
	}
	return strings.Join(parts, ", "), err
}

// rolloutHealthy waits until the Kustomization is ready at the last commit,
// and checks that the Deployments really are.
func (t *tour) rolloutHealthy(ctx context.Context, update func(string, ...any)) (string, error) {
	if err := t.ready(ctx, update); err != nil {
		return "", err
	}
	var found []appsv1.Deployment
	var behind string
	pods := 0
	// Not at one look: the autoscaler adds pods to what was healthy before.
	err := t.poll(ctx, func(ctx context.Context) (ok bool, err error) {
		if found, err = t.deployments(ctx); err != nil {
			return false, err
		}
		pods, behind = 0, ""
		for _, d := range found {
			if !available(d) {
				behind = d.Name
			}
			pods += int(d.Status.ReadyReplicas)
		}
		return behind == "", nil
	})
	if behind != "" {
		return "", fmt.Errorf("the Kustomization is ready, but Deployment %s is not available: %w", behind, err)
	}
	return fmt.Sprintf("%d deployments, %d pods ready", len(found), pods), err
}

// ready waits until the Kustomization has applied the last commit.
func (t *tour) ready(ctx context.Context, update func(string, ...any)) error {
	return t.poll(ctx, func(ctx context.Context) (bool, error) {
		var ks kustomizev1.Kustomization
		if err := t.client.Get(ctx, key, &ks); err != nil {
			return false, err
		}
		found, err := t.deployments(ctx)
		if err != nil {
			return false, err
		}
		n := 0
		for _, d := range found {
			if available(d) {
				n++
			}
		}
		update("%d of %d deployments available · %s", n, len(found), readiness(ks.Status.Conditions))
		return ks.Status.LastAppliedRevision == t.revision && apimeta.IsStatusConditionTrue(ks.Status.Conditions, meta.ReadyCondition), stalled(ks.Status.Conditions)
	})
}

func (t *tour) deployments(ctx context.Context) ([]appsv1.Deployment, error) {
	var list appsv1.DeploymentList
	err := t.client.List(ctx, &list, client.InNamespace(appNamespace))
	return list.Items, err
}

// request sets the annotation by which users and webhooks ask for a run now.
func (t *tour) request(ctx context.Context, o client.Object) error {
	o.SetName(key.Name)
	o.SetNamespace(key.Namespace)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, strconv.FormatInt(time.Now().UnixNano(), 10))
	return t.client.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(patch)), fieldOwner)
}

func available(d appsv1.Deployment) bool {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := d.Status
	return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == want && s.AvailableReplicas == want && s.Replicas == want
}

// readiness is the Ready condition in one line.
func readiness(conditions []metav1.Condition) string {
	if c := apimeta.FindStatusCondition(conditions, meta.ReadyCondition); c != nil {
		return c.Reason + ": " + firstLine(c.Message)
	}
	return "not seen yet"
}

// stalled is an error when the controller says that nothing will happen until
// somebody acts.
func stalled(conditions []metav1.Condition) error {
	if c := apimeta.FindStatusCondition(conditions, meta.StalledCondition); c != nil && c.Status == metav1.ConditionTrue {
		return fmt.Errorf("stalled: %s: %s", c.Reason, c.Message)
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// short cuts the hash of a revision or digest to twelve digits.
func short(s string) string {
	if i := strings.LastIndexByte(s, ':'); i >= 0 && len(s) > i+13 {
		return s[:i+13]
	}
	return s
}

// events returns the messages of the Warning events about the Kustomization.
func (t *tour) events(ctx context.Context) ([]string, error) {
	var list corev1.EventList
	if err := t.client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	var out []string
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == "Kustomization" && e.Type == corev1.EventTypeWarning {
			out = append(out, e.Reason+": "+e.Message)
		}
	}
	return out, nil
}
