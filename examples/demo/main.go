// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo shows a GitOps deployment from the first commit to the removal
// of a component, on a control plane that it starts itself or, with the
// environment variable KUBECONFIG, on a cluster that exists. It ends with 0
// only if every step was verified.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/gitops-kit/sdk/examples/internal/tour"
)

func main() { os.Exit(run()) }

func run() int {
	keep := flag.Bool("keep", false, "stay up at the end, until Ctrl-C")
	flag.Parse()
	log.SetLogger(logr.Discard()) // the client's; what matters is shown as steps
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := tour.Run(ctx, tour.Options{Kubeconfig: os.Getenv("KUBECONFIG"), Keep: *keep})
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "interrupted")
	default:
		fmt.Fprintln(os.Stderr, "\nthe demo failed:", err)
	}
	return 1
}
