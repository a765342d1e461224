// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"context"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// SchedulerFlags are the flags of a scheduler that uses kubeconfig.
func SchedulerFlags(kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
	}
}

// RunScheduler runs the scheduler until ctx ends. It can run once in a
// process.
func RunScheduler(ctx context.Context, args []string) error {
	o := options.NewOptions()
	if err := parse(*o.Flags, args); err != nil {
		return err
	}
	if err := o.ComponentGlobalsRegistry.SetFallback(); err != nil {
		return err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	gate := o.ComponentGlobalsRegistry.FeatureGateFor(basecompatibility.DefaultKubeComponent)
	if err := applyLogging(o.Logs, gate); err != nil {
		return err
	}
	name, err := cache.NewInformerName("kube-scheduler")
	if err != nil {
		return err
	}
	defer name.Release()
	o.InformerName = name
	config, scheduler, err := app.Setup(ctx, o)
	if err != nil {
		return err
	}
	return ended(ctx, app.Run(ctx, config, scheduler))
}
