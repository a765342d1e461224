// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/gitops-kit/sdk/testserver/kube"
)

// What a test prints when there is no control plane to run.
func ExampleUnavailableError() {
	err := error(&kube.UnavailableError{Why: "it is not built, and building is off", Command: "unset GITOPS_KIT_CONTROLPLANE_BUILD"})
	fmt.Println(errors.Is(err, kube.ErrUnavailable))
	fmt.Println(err)
	// Output:
	// true
	// no control plane: it is not built, and building is off; run: unset GITOPS_KIT_CONTROLPLANE_BUILD
}

// A program that needs a cluster for a moment.
func ExampleRun() { //nolint:testableexamples // it starts a control plane
	ctx := context.Background()
	c, err := kube.Run(ctx, kube.Options{Components: kube.Full, Progress: os.Stderr})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Stop()
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range nodes.Items {
		fmt.Println(n.Name, n.Status.NodeInfo.KubeletVersion)
	}
}
