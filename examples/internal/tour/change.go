// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tour

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
)

const newTag = "1.28-alpine"

func (t *tour) pushImage(_ context.Context, _ func(string, ...any)) (string, error) {
	const file = "overlays/production/kustomization.yaml"
	if err := t.edit(file, "newTag: 1.27-alpine", "newTag: "+newTag, "Update nginx to "+newTag); err != nil {
		return "", err
	}
	return short(t.revision) + " changes " + file, nil
}

// edit commits the file with old replaced by replacement.
func (t *tour) edit(file, old, replacement, message string) error {
	text, err := t.repo.ReadFile("main", file)
	if err != nil {
		return err
	}
	if !strings.Contains(text, old) {
		return fmt.Errorf("%s has no %q", file, old)
	}
	return t.commit(map[string]string{file: strings.ReplaceAll(text, old, replacement)}, message)
}

func (t *tour) imageRolledOut(ctx context.Context, update func(string, ...any)) (string, error) {
	result, err := t.rolloutHealthy(ctx, update)
	if err != nil {
		return "", err
	}
	found, err := t.deployments(ctx)
	if err != nil {
		return "", err
	}
	n := 0
	for _, d := range found {
		switch image := d.Spec.Template.Spec.Containers[0].Image; {
		case image == "nginx:"+newTag:
			n++
		case strings.HasPrefix(image, "nginx:"):
			return "", fmt.Errorf("Deployment %s still has %s", d.Name, image) //nolint:staticcheck // a kind's name
		}
	}
	return fmt.Sprintf("%s, %d with nginx:%s", result, n, newTag), nil
}

// damage does by hand what nobody should: it deletes a Service and edits a
// Deployment and a ConfigMap.
func (t *tour) damage(ctx context.Context, _ func(string, ...any)) (string, error) {
	if err := t.client.Delete(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "catalog", Namespace: appNamespace}}); err != nil {
		return "", err
	}
	var orders appsv1.Deployment
	if err := t.client.Get(ctx, t.app("orders"), &orders); err != nil {
		return "", err
	}
	three := int32(3)
	orders.Spec.Replicas = &three
	orders.Spec.Template.Spec.Containers[0].Image = "busybox:edited-by-hand"
	if err := t.client.Update(ctx, &orders, client.FieldOwner("somebody")); err != nil {
		return "", err
	}
	settings, err := t.settings(ctx)
	if err != nil {
		return "", err
	}
	settings.Data["LOG_LEVEL"] = "trace"
	if err := t.client.Update(ctx, settings, client.FieldOwner("somebody")); err != nil {
		return "", err
	}
	return "Service catalog deleted; image and replicas of orders and a ConfigMap edited", nil
}

func (t *tour) app(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: appNamespace, Name: name}
}

// settings is the generated ConfigMap, whose name ends in a hash.
func (t *tour) settings(ctx context.Context) (*corev1.ConfigMap, error) {
	var list corev1.ConfigMapList
	if err := t.client.List(ctx, &list, client.InNamespace(appNamespace)); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list.Items, func(c corev1.ConfigMap) bool { return strings.HasPrefix(c.Name, "shop-settings-") })
	if i < 0 {
		return nil, errors.New("no ConfigMap shop-settings")
	}
	return &list.Items[i], nil
}

func (t *tour) driftCorrected(ctx context.Context, update func(string, ...any)) (string, error) {
	if err := t.request(ctx, &kustomizev1.Kustomization{}); err != nil {
		return "", err
	}
	err := t.poll(ctx, func(ctx context.Context) (bool, error) {
		var left []string
		if err := t.client.Get(ctx, t.app("catalog"), &corev1.Service{}); apierrors.IsNotFound(err) {
			left = append(left, "Service catalog missing")
		} else if err != nil {
			return false, err
		}
		var orders appsv1.Deployment
		if err := t.client.Get(ctx, t.app("orders"), &orders); err != nil {
			return false, err
		}
		if image := orders.Spec.Template.Spec.Containers[0].Image; image != "nginx:"+newTag || *orders.Spec.Replicas != 1 {
			left = append(left, fmt.Sprintf("orders has %s and %d replicas", image, *orders.Spec.Replicas))
		}
		settings, err := t.settings(ctx)
		if err != nil {
			return false, err
		}
		if settings.Data["LOG_LEVEL"] != "info" {
			left = append(left, "ConfigMap edited")
		}
		update("%s", strings.Join(left, "; "))
		return len(left) == 0, nil
	})
	if err != nil {
		return "", err
	}
	if err := t.ready(ctx, update); err != nil {
		return "", err
	}
	return "Service recreated, image, replicas and ConfigMap as in git", nil
}

// pushBroken commits a manifest that the API server cannot accept, together
// with a change that would be fine: neither may be applied.
func (t *tour) pushBroken(ctx context.Context, _ func(string, ...any)) (string, error) {
	var err error
	if t.before, err = t.marks(ctx); err != nil {
		return "", err
	}
	if err := t.edit("base/catalog/deployment.yaml", "replicas: 1", "replicas: many", "Scale the catalog"); err != nil {
		return "", err
	}
	if err := t.edit("overlays/production/kustomization.yaml", "LOG_LEVEL=info", "LOG_LEVEL=warn", "Log less"); err != nil {
		return "", err
	}
	// The overlay sets the replicas of catalog and would hide the mistake.
	if err := t.edit("overlays/production/kustomization.yaml", "  - name: catalog\n    count: 2\n", "  - name: orders\n    count: 1\n", "Leave the catalog's scale to its base"); err != nil {
		return "", err
	}
	return short(t.revision) + " has replicas: many", nil
}

func (t *tour) brokenRefused(ctx context.Context, update func(string, ...any)) (string, error) {
	message := ""
	err := t.poll(ctx, func(ctx context.Context) (bool, error) {
		var ks kustomizev1.Kustomization
		if err := t.client.Get(ctx, key, &ks); err != nil {
			return false, err
		}
		update("%s", readiness(ks.Status.Conditions))
		c := apimeta.FindStatusCondition(ks.Status.Conditions, meta.ReadyCondition)
		if c == nil || c.Status != metav1.ConditionFalse || ks.Status.LastAttemptedRevision != t.revision {
			return false, nil
		}
		if ks.Status.LastAppliedRevision == t.revision {
			return false, errors.New("the broken commit counts as applied")
		}
		message = c.Reason + ": " + c.Message
		return true, nil
	})
	if err != nil {
		return "", err
	}
	if !strings.Contains(message, "catalog") || !strings.Contains(message, "replicas") {
		return "", fmt.Errorf("the message names neither object nor field: %s", message)
	}
	err = t.poll(ctx, func(ctx context.Context) (bool, error) {
		warnings, err := t.events(ctx)
		return slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, "catalog") }), err
	})
	return message, err
}

// mark tells whether an object was touched: generation changes with its
// specification, the version of what has no status with every write.
type mark struct {
	uid        types.UID
	generation int64
	version    string
}

func (t *tour) marks(ctx context.Context) (map[string]mark, error) {
	out := map[string]mark{}
	for kind, list := range map[string]client.ObjectList{
		"Deployment": &appsv1.DeploymentList{}, "Service": &corev1.ServiceList{}, "ConfigMap": &corev1.ConfigMapList{},
	} {
		if err := t.client.List(ctx, list, client.InNamespace(appNamespace)); err != nil {
			return nil, err
		}
		items, err := apimeta.ExtractList(list)
		if err != nil {
			return nil, err
		}
		for _, i := range items {
			o, err := apimeta.Accessor(i)
			if err != nil {
				return nil, err
			}
			m := mark{uid: o.GetUID(), generation: o.GetGeneration()}
			if kind != "Deployment" {
				m.version = o.GetResourceVersion()
			}
			out[kind+"/"+o.GetName()] = m
		}
	}
	return out, nil
}

func (t *tour) nothingChanged(ctx context.Context, _ func(string, ...any)) (string, error) {
	now, err := t.marks(ctx)
	if err != nil {
		return "", err
	}
	for id, m := range t.before {
		if now[id] != m {
			return "", fmt.Errorf("%s was %+v and is %+v", id, m, now[id])
		}
	}
	if len(now) != len(t.before) {
		return "", fmt.Errorf("%d objects became %d", len(t.before), len(now))
	}
	return fmt.Sprintf("%d objects as before, none written, none pruned", len(now)), nil
}

func (t *tour) pushRevert(_ context.Context, _ func(string, ...any)) (string, error) {
	if err := t.edit("base/catalog/deployment.yaml", "replicas: many", "replicas: 1", "Revert: scale the catalog"); err != nil {
		return "", err
	}
	return short(t.revision), nil
}

func (t *tour) pushRemoval(ctx context.Context, _ func(string, ...any)) (string, error) {
	var err error
	if t.before, err = t.marks(ctx); err != nil {
		return "", err
	}
	if err := t.edit("base/kustomization.yaml", "  - cache\n", "", "Remove the cache"); err != nil {
		return "", err
	}
	return short(t.revision) + " drops the cache", nil
}

func (t *tour) pruned(ctx context.Context, update func(string, ...any)) (string, error) {
	if err := t.ready(ctx, update); err != nil {
		return "", err
	}
	err := t.poll(ctx, func(ctx context.Context) (bool, error) {
		var pods corev1.PodList
		if err := t.client.List(ctx, &pods, client.InNamespace(appNamespace), client.MatchingLabels{"app.kubernetes.io/name": "cache"}); err != nil {
			return false, err
		}
		left := len(pods.Items)
		for _, o := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}} {
			if err := t.client.Get(ctx, t.app("cache"), o); err == nil {
				left++
			} else if !apierrors.IsNotFound(err) {
				return false, err
			}
		}
		update("%d objects left", left)
		return left == 0, nil
	})
	return "Deployment and Service cache and their pods are gone", err
}

func (t *tour) restUntouched(ctx context.Context, _ func(string, ...any)) (string, error) {
	now, err := t.marks(ctx)
	if err != nil {
		return "", err
	}
	for id, m := range t.before {
		if strings.HasSuffix(id, "/cache") {
			continue
		}
		if now[id] != m {
			return "", fmt.Errorf("%s was %+v and is %+v", id, m, now[id])
		}
	}
	return fmt.Sprintf("%d objects as before", len(now)), nil
}
