// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tour

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/testserver/kube"
)

// startCluster starts a control plane, or connects to the cluster that the
// user named.
func (t *tour) startCluster(ctx context.Context, update func(string, ...any)) (string, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, sourcev1.AddToScheme, kustomizev1.AddToScheme} {
		if err := add(scheme); err != nil {
			return "", err
		}
	}
	config, what, err := t.connect(ctx, update)
	if err != nil {
		return "", err
	}
	config.QPS = -1
	if t.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return "", err
	}
	err = t.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	if t.existing && apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("namespace %s exists; delete it first if it is left over from an earlier demo", namespace)
	}
	t.entered = err == nil
	return what, err
}

func (t *tour) connect(ctx context.Context, update func(string, ...any)) (*rest.Config, string, error) {
	if t.options.Kubeconfig != "" {
		t.kubeconfig, t.existing = t.options.Kubeconfig, true
		rules := &clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(t.kubeconfig)}
		config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
		return config, "using " + t.kubeconfig, err
	}
	update("starting; the first time it is built, which takes minutes")
	cluster, err := kube.Run(ctx, kube.Options{Components: kube.Full})
	if err != nil {
		return nil, "", err
	}
	t.closers = append(t.closers, func() error { cluster.Stop(); return nil })
	t.kubeconfig = filepath.Join(t.dir, "kubeconfig")
	if err := os.WriteFile(t.kubeconfig, cluster.Kubeconfig(), 0o600); err != nil {
		return nil, "", err
	}
	return cluster.Config(), "Kubernetes " + cluster.Version(), nil
}

// installCRDs creates the custom resource definitions that are not there yet;
// those of an existing cluster are left as they are.
func (t *tour) installCRDs(ctx context.Context, _ func(string, ...any)) (string, error) {
	dir, err := module(ctx, "controllers")
	if err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(dir, "config", "crd", "bases", "*.yaml"))
	if err != nil || len(files) == 0 {
		return "", errors.Join(err, fmt.Errorf("no definitions below %s", dir))
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		crd := &unstructured.Unstructured{}
		if err := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096).Decode(&crd.Object); err != nil {
			return "", fmt.Errorf("%s: %w", f, err)
		}
		switch err := t.client.Create(ctx, crd); {
		case err == nil:
			t.installed = append(t.installed, crd)
		case !apierrors.IsAlreadyExists(err):
			return "", err
		}
		if err := t.poll(ctx, func(ctx context.Context) (bool, error) { return t.established(ctx, crd) }); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d of %d created", len(t.installed), len(files)), nil
}

func (t *tour) established(ctx context.Context, crd *unstructured.Unstructured) (bool, error) {
	live := crd.DeepCopy()
	if err := t.client.Get(ctx, client.ObjectKeyFromObject(crd), live); err != nil {
		return false, err
	}
	conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
			return true, nil
		}
	}
	return false, nil
}

// removeFromCluster takes the demo out of a cluster that goes on living: the
// Kustomization's finalizer removes the application first.
func (t *tour) removeFromCluster(ctx context.Context) error {
	ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: key.Name, Namespace: key.Namespace}}
	if err := t.client.Delete(ctx, ks); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	err := t.poll(ctx, func(ctx context.Context) (bool, error) {
		err := t.client.Get(ctx, key, ks)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
	if err != nil {
		return err
	}
	repo := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Name: key.Name, Namespace: key.Namespace}}
	if err := t.client.Delete(ctx, repo); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	err = t.poll(ctx, func(ctx context.Context) (bool, error) {
		err := t.client.Get(ctx, key, repo)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
	for _, crd := range t.installed {
		err = errors.Join(err, t.removeUnused(ctx, crd))
	}
	return errors.Join(err, client.IgnoreNotFound(t.client.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})))
}

// removeUnused deletes a definition that the demo created, unless somebody
// has used it meanwhile.
func (t *tour) removeUnused(ctx context.Context, crd *unstructured.Unstructured) error {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind + "List"})
	if err := t.client.List(ctx, list, client.Limit(1)); err != nil || len(list.Items) > 0 {
		return err
	}
	return client.IgnoreNotFound(t.client.Delete(ctx, crd))
}
