// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"fmt"

	"github.com/gitops-kit/sdk/runtime/queue"
	"k8s.io/apimachinery/pkg/types"
)

func Example() {
	q := queue.New(queue.Options{Workers: 1})
	key := func(ns, name string) queue.Request {
		return queue.Request{NamespacedName: types.NamespacedName{Namespace: ns, Name: name}}
	}
	q.AddClass(key("a", "1"), queue.Routine)
	q.AddClass(key("a", "2"), queue.Urgent)
	q.AddClass(key("b", "3"), queue.Retry)
	for range 3 {
		r, _ := q.Get()
		fmt.Print(r, " ")
		q.Done(r)
	}
	// Output: a/2 b/3 a/1
}
