// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"fmt"
	"testing/fstest"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/controllers/kustomize"
)

// The adapters are pure: a spec in, options of an engine out.
func ExampleBuildOptions() {
	o := &v1.Kustomization{}
	o.Spec.Path = "./deploy/production"
	o.Spec.TargetNamespace = "shop"
	o.Spec.Images = []meta.Image{{Name: "web", NewTag: "1.2"}}

	opts := kustomize.BuildOptions(o, fstest.MapFS{})
	fmt.Println(opts.Dir, opts.Spec.TargetNamespace, opts.Spec.Images[0].NewTag)
	// Output: deploy/production shop 1.2
}
