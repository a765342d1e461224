// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"context"
	"fmt"
	"testing/fstest"

	"github.com/gitops-kit/sdk/kustomize"
)

func ExampleBuilder_Build() {
	root := fstest.MapFS{"apps/web.yaml": {Data: []byte(`apiVersion: v1
kind: ConfigMap
metadata:
  name: web
data:
  url: https://${host}/
`)}}
	b := kustomize.New(kustomize.BuilderOptions{})
	res, err := b.Build(context.Background(), kustomize.Options{
		Root: root,
		Dir:  "apps",
		Spec: kustomize.Spec{TargetNamespace: "prod", NamePrefix: "blue-"},
		Substitute: &kustomize.Substitution{
			Vars: map[string]kustomize.Var{"host": {Value: "example.com"}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, u := range res.Unstructured() {
		fmt.Println(u.GetKind(), u.GetNamespace(), u.GetName(), "from", res.Source(u))
	}
	// Output: ConfigMap prod blue-web from apps/web.yaml:1
}
