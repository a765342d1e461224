// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package predicates_test

import (
	"fmt"

	"github.com/gitops-kit/sdk/runtime/predicates"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

func Example() {
	object := func(generation int64) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: generation}}
	}
	p := predicates.Own("finalizers.fluxcd.io")
	fmt.Println(p.Update(event.UpdateEvent{ObjectOld: object(1), ObjectNew: object(2)}), p.Update(event.UpdateEvent{ObjectOld: object(1), ObjectNew: object(1)}))
	// Output: true false
}
