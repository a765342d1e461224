// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomizetest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/openapi"

	"github.com/gitops-kit/sdk/kustomize"
	"github.com/gitops-kit/sdk/kustomize/kustomizetest"
)

// direct runs kustomize in this process, alone.
type direct struct{}

func (direct) Run(ctx context.Context, t kustomize.SchemaTree) (out []byte, err error) {
	fsys := filesys.MakeFsInMemory()
	for name, data := range t.Files {
		if err := fsys.WriteFile("/"+name, data); err != nil {
			return nil, err
		}
	}
	err = kustomize.LockSchema(ctx, func() error {
		if t.Schema == kustomize.SchemaReplace {
			openapi.ResetOpenAPI()
		}
		o := krusty.MakeDefaultOptions()
		o.LoadRestrictions = types.LoadRestrictionsNone
		m, err := krusty.MakeKustomizer(o).Run(fsys, "/"+t.Dir)
		if err != nil {
			return err
		}
		out, err = m.AsYaml()
		return err
	})
	return out, err
}

// KZ-49: a runner gives byte for byte what the lane gives.
func TestDirect(t *testing.T) {
	kustomizetest.RunSchemaRunner(t, func(testing.TB) kustomize.SchemaRunner { return direct{} })
}

// failing is a runner that is out of order.
type failing struct{}

func (failing) Run(context.Context, kustomize.SchemaTree) ([]byte, error) {
	return nil, errors.New("no worker is free")
}

func ExampleRunSchemaRunner() {
	// In a test of your runner:
	_ = func(t *testing.T) {
		t.Helper()
		kustomizetest.RunSchemaRunner(t, func(testing.TB) kustomize.SchemaRunner { return failing{} })
	}
	_, err := failing{}.Run(context.Background(), kustomize.SchemaTree{})
	fmt.Println(err)
	// Output: no worker is free
}
