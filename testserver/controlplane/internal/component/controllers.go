// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"context"
	"errors"
	"strings"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"

	"github.com/gitops-kit/sdk/testserver/controlplane/internal/pki"
)

// controllers is what the controller-manager runs: those whose effects a
// controller author can see without machines behind the nodes.
func controllers(realDelays bool) []string {
	c := []string{
		names.ServiceAccountTokenController,
		names.ServiceAccountController,
		names.RootCACertificatePublisherController,
		names.DeploymentController,
		names.ReplicaSetController,
		names.ReplicationControllerController,
		names.StatefulSetController,
		names.DaemonSetController,
		names.JobController,
		names.CronJobController,
		names.TTLAfterFinishedController,
		names.EndpointsController,
		names.EndpointSliceController,
		names.EndpointSliceMirroringController,
		names.ClusterRoleAggregationController,
		names.ResourceQuotaController,
		names.DisruptionController,
		names.PersistentVolumeBinderController,
		names.HorizontalPodAutoscalerController,
		names.ValidatingAdmissionPolicyStatusController,
	}
	if realDelays {
		c = append(c, names.NamespaceController, names.GarbageCollectorController)
	}
	return c
}

// ControllerManagerFlags are the flags of a controller-manager that uses
// kubeconfig. With realDelays it also runs the namespace and garbage
// collection controllers, which [RunNamespaces] and [RunGarbageCollector]
// replace otherwise.
func ControllerManagerFlags(pkiDir, kubeconfig string, realDelays bool) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
		"--controllers=" + strings.Join(controllers(realDelays), ","),
		"--service-account-private-key-file=" + pkiDir + "/" + pki.TokenKey,
		"--root-ca-file=" + pkiDir + "/" + pki.CA,
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
		"--controller-shutdown-timeout=1s",
		"--concurrent-gc-syncs=5",
	}
}

// RunControllerManager runs the controllers until ctx ends. It can run once
// in a process.
func RunControllerManager(ctx context.Context, args []string) error {
	o, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known, off, aliases := app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases()
	sets := o.Flags(known, off, aliases)
	o.ParsedFlags = &sets
	if err := parse(sets, args); err != nil {
		return err
	}
	if err := o.ComponentGlobalsRegistry.SetFallback(); err != nil {
		return err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	if err := applyLogging(o.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	config, err := o.Config(ctx, known, off, aliases)
	if err != nil {
		return err
	}
	err = app.Run(ctx, config.Complete())
	return ended(ctx, err)
}

// ended judges the end of a component by its context: some return an error
// on a normal end, some nil on an early one.
func ended(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
	}
	if err == nil {
		return errors.New("it ended by itself")
	}
	return err
}
