// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package conditions_test

import (
	"fmt"

	"github.com/gitops-kit/sdk/runtime/conditions"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func Example() {
	u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"generation": int64(3)}}}
	o, _ := conditions.Unstructured(u)
	conditions.MarkTrue(o, "FetchFailed", "Timeout", "no answer from %s", "example.com")
	conditions.Summarize(o, "Ready", conditions.SummaryOptions{From: []string{"FetchFailed"}, Negative: []string{"FetchFailed"}})
	c := conditions.Get(o, "Ready")
	fmt.Println(c.Status, c.Reason, c.Message, c.ObservedGeneration)
	// Output: False Timeout no answer from example.com 3
}
