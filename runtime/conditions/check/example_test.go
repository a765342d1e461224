// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package check_test

import (
	"fmt"

	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/conditions/check"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func Example() {
	o, _ := conditions.Unstructured(&unstructured.Unstructured{Object: map[string]any{}})
	conditions.MarkTrue(o, "Ready", "Succeeded", "ok")
	conditions.MarkTrue(o, "Reconciling", "Progressing", "again")
	for _, f := range check.Errors(check.Object(o)) {
		fmt.Println(f)
	}
	// Output: b (error): Reconciling and Ready are both True
}
