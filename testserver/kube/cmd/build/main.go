// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command build finds the control plane program or builds it, and prints its
// path. It shows progress on standard error.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/gitops-kit/sdk/testserver/kube"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	file, err := kube.Find(ctx, kube.FindOptions{})
	if err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n", err)
		return 1
	}
	fmt.Println(file)
	return 0
}
