// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Manager runs the reference controllers, one or several in a process:
//
//	manager --controllers=source,kustomize
//
// Called under a controller's name (source-controller), it runs that one.
package main

import (
	"os"

	"github.com/gitops-kit/sdk/controllers/kustomize"
	"github.com/gitops-kit/sdk/controllers/source"
	"github.com/gitops-kit/sdk/runtime/manager"
)

func main() {
	os.Exit(manager.Combined(source.Options(), kustomize.Options()))
}
