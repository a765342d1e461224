// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/client"
	"github.com/gitops-kit/sdk/runtime/kubeconfig"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/ssa"
)

// identity gets the client of the cluster and account that everything below
// is done with.
func (x *run) identity(ctx context.Context, o *v1.Kustomization) (next reconcile.Result, err error) {
	x.manager, err = x.managerOf(ctx, o)
	return next, err
}

// managerOf returns the manager of o's objects: on the cluster and with the
// account that the spec names.
func (r *Reconciler) managerOf(ctx context.Context, o *v1.Kustomization) (*ssa.Manager, error) {
	t, err := r.target(ctx, o)
	if err != nil {
		return nil, err
	}
	c, err := r.Pool.Get(ctx, t)
	if err != nil {
		return nil, unreachable(o, err)
	}
	cluster, err := client.Shared(c, newCluster)
	if err != nil {
		return nil, unreachable(o, err)
	}
	opts := ssa.Options{
		Owner:       OwnerOf(o),
		Concurrency: r.flags.ConcurrentSSA,
		Stages:      r.flags.stages,
		Memo:        r.memo,
	}
	if env := r.env.Load(); env != nil && t.Kubeconfig == nil {
		opts.Env = env
	}
	m, err := ssa.NewManager(cluster, opts)
	if err != nil {
		return nil, failed(meta.ReconciliationFailedReason, err, "%v", err)
	}
	return m, nil
}

// watchEnvironment follows what may change the effect of an apply although
// neither objects nor sources change: CRDs and admission of this cluster.
func (r *Reconciler) watchEnvironment(ctx context.Context) error {
	c, err := r.Pool.Get(ctx, client.Target{})
	if err != nil {
		return err
	}
	defer c.Release()
	cluster, err := client.Shared(c, newCluster)
	if err != nil {
		return err
	}
	r.env.Store(ssa.WatchEnvironment(ctx, cluster))
	<-ctx.Done()
	return nil
}

func newCluster(c *client.Client) (ssa.Cluster, error) {
	return ssa.NewCluster(c.Config, ssa.ClusterOptions{Mapper: c.Mapper})
}

// target resolves account and cluster of the spec.
func (r *Reconciler) target(ctx context.Context, o *v1.Kustomization) (client.Target, error) {
	t := client.Target{ServiceAccount: r.account(o)}
	ref := o.Spec.KubeConfig
	switch {
	case ref == nil:
		return t, nil
	case ref.SecretRef == nil:
		return t, stalled(meta.FeatureGateDisabledReason, nil, "spec.kubeConfig.configMapRef is not served by this installation; use spec.kubeConfig.secretRef")
	}
	var s corev1.Secret
	name := types.NamespacedName{Namespace: o.Namespace, Name: ref.SecretRef.Name}
	if err := r.APIReader.Get(ctx, name, &s); err != nil {
		return t, failed(meta.ReconciliationFailedReason, err, "read kubeconfig Secret '%s': %v; create it, or check spec.kubeConfig.secretRef", name, err)
	}
	k, err := kubeconfig.FromSecret(s.Data, ref.SecretRef.Key, r.Config.Kubeconfig)
	if err != nil {
		return t, failed(meta.ReconciliationFailedReason, err, "kubeconfig in Secret '%s': %v; %s", name, err, kubeconfigHint(err))
	}
	t.Kubeconfig = k
	return t, nil
}

// kubeconfigHint says what to do about a kubeconfig that is refused.
func kubeconfigHint(err error) string {
	if errors.Is(err, kubeconfig.ErrUnsupportedKubeconfigField) {
		return "remove the field; credentials are embedded as token or client-certificate-data and client-key-data"
	}
	return "correct the Secret, or check spec.kubeConfig.secretRef"
}

// account returns the account to impersonate; zero is the controller itself.
func (r *Reconciler) account(o *v1.Kustomization) types.NamespacedName {
	name := o.Spec.ServiceAccountName
	if name == "" {
		name = r.Config.DefaultServiceAccount
	}
	if name == "" {
		return types.NamespacedName{}
	}
	return types.NamespacedName{Namespace: o.Namespace, Name: name}
}

// references returns who reads the objects of substituteFrom: the controller,
// or with --reference-identity=tenant the account of o on this cluster.
func (r *Reconciler) references(ctx context.Context, o *v1.Kustomization) (ctrl.Reader, error) {
	account := r.account(o)
	if r.flags.ReferenceIdentity != "tenant" || account.Name == "" {
		return r.APIReader, nil
	}
	c, err := r.Pool.Get(ctx, client.Target{ServiceAccount: account})
	if err != nil {
		return nil, failed(meta.ReconciliationFailedReason, err, "read references as ServiceAccount '%s': %v", account, err)
	}
	return c, nil
}

// unreachable words an error of the connection to the target cluster.
func unreachable(o *v1.Kustomization, err error) error {
	where := "this cluster"
	hint := "check the API server"
	if o.Spec.KubeConfig != nil && o.Spec.KubeConfig.SecretRef != nil {
		where = "the cluster of spec.kubeConfig"
		hint = fmt.Sprintf("check server address and credentials in Secret '%s/%s'", o.Namespace, o.Spec.KubeConfig.SecretRef.Name)
	}
	return failed(meta.ReconciliationFailedReason, err, "%s cannot be reached: %v; %s", where, err, hint)
}

// terminal reports whether retrying err is pointless by its own account.
func terminal(err error) bool {
	var t interface{ Terminal() bool }
	return errors.As(err, &t) && t.Terminal()
}
