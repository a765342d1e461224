// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command controlplane is a Kubernetes control plane in one program: etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler, a kubelet that
// plays nodes, and kubectl.
//
// Called by the name of one of the real programs, or with it as the first
// argument, it is that program. Otherwise it runs a whole control plane on the
// loopback interface until it is told to stop; see "controlplane --help".
// It is meant for tests and must not be used in production: data is not
// synced to disk, and certificates last a day.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/gitops-kit/sdk/testserver/controlplane/internal/cluster"
	"github.com/gitops-kit/sdk/testserver/controlplane/internal/kubeversion"
)

func main() {
	os.Exit(run(context.Background(), os.Args)) //nolint:forbidigo // a program has a first context and an exit code
}

func run(ctx context.Context, args []string) int {
	name := filepath.Base(args[0])
	if applet, ok := applets()[name]; ok {
		return applet(args)
	}
	if len(args) < 2 {
		return cluster.Main(ctx, nil)
	}
	if applet, ok := applets()[args[1]]; ok {
		return applet(args[1:])
	}
	switch args[1] {
	case "version":
		_, _ = fmt.Fprintf(os.Stdout, "Kubernetes %s\netcd %s\nGo %s\n", kubeversion.Kubernetes(), kubeversion.Etcd(), runtime.Version())
		return 0
	case "assets":
		return assets(args[2:])
	case "component":
		return cluster.Child(ctx)
	case "help":
		_, _ = io.WriteString(os.Stdout, cluster.Usage())
		return 0
	default:
		return cluster.Main(ctx, args[1:])
	}
}
