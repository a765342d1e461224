// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package v1_test

import (
	"fmt"
	"time"

	kustomizev1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
)

func Example() {
	k := kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{Interval: meta.Duration{Duration: 10 * time.Minute}, Prune: true}}
	fmt.Println(k.GetTimeout(), k.GetDeletionPolicy())
	// Output: 9m30s Delete
}
