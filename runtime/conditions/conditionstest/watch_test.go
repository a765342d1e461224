// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package conditionstest_test

import (
	"fmt"
	"testing"

	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/conditions/conditionstest"
	"github.com/gitops-kit/sdk/runtime/internal/testapi"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

func Example() {
	r := &conditionstest.Recorder{}
	fmt.Println(r.Versions(), r.Findings())
	// Output: 0 []
}

// RT-14: a bad version is found, a user's change is not.
func TestWatch(t *testing.T) {
	g := NewWithT(t)
	s := runtime.NewScheme()
	g.Expect(testapi.AddToScheme(s)).To(Succeed())
	c := fake.NewClientBuilder().WithScheme(s).WithStatusSubresource(&testapi.App{}).Build()
	var inner *conditionstest.Recorder
	t.Run("watched", func(t *testing.T) {
		g := NewWithT(t)
		inner = conditionstest.Watch(t, c, "ns", &testapi.AppList{})
		o := &testapi.App{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", Generation: 1}}
		o.Status.ObservedGeneration = 1
		conditions.MarkTrue(o, "Ready", "R", "m")
		g.Expect(c.Create(t.Context(), o)).To(Succeed())
		g.Expect(c.Status().Update(t.Context(), o)).To(Succeed())
		o.Generation = 2
		g.Expect(c.Update(t.Context(), o)).To(Succeed())
		g.Eventually(inner.Versions).Should(Equal(3))
		g.Expect(inner.Findings()).To(BeEmpty())
	})
	o := &testapi.App{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "b", Generation: 1, ResourceVersion: "9"}}
	conditions.MarkTrue(o, "Ready", "R", "m")
	conditions.MarkTrue(o, "Stalled", "R", "m")
	inner.Look(o)
	g.Expect(inner.Findings()).To(ContainElement(ContainSubstring("ns/b version 9: c (error)")))
}
