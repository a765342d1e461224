// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package runtimetest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/internal/testapi"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/runtime/runtimetest"
	"github.com/gitops-kit/sdk/testserver/kube"
	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

type app = testapi.App

func Example() {
	fmt.Println(runtimetest.Violation{Script: "idle", Text: "an object was written although nothing had changed"})
	// Output: idle: an object was written although nothing had changed
}

type good struct{}

func (good) Reconcile(_ context.Context, o *app) (reconcile.Result, error) {
	o.Status.Applied = o.Spec.Text
	return reconcile.Success("applied %s", o.Spec.Text), nil
}

// bad ignores the harness: it marks a stalled object ready, forgets the token,
// ignores suspension and never gives an object free.
type bad struct{ c client.Client }

func (b bad) Reconcile(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	o := &app{}
	if err := b.c.Get(ctx, r.NamespacedName, o); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !o.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	if !slices.Contains(o.Finalizers, meta.Finalizer) {
		o.Finalizers = append(o.Finalizers, meta.Finalizer)
		return ctrl.Result{}, b.c.Update(ctx, o)
	}
	o.Status.Count++
	o.Status.ObservedGeneration = o.Generation
	conditions.MarkTrue(o, meta.ReadyCondition, "R", "m")
	if o.Spec.Suspend {
		o.Status.LastHandledReconcileAt = o.Annotations[meta.ReconcileRequestAnnotation]
		conditions.MarkStalled(o, "R", "m")
	}
	err := b.c.Status().Update(ctx, o)
	return ctrl.Result{RequeueAfter: 20 * time.Millisecond}, client.IgnoreNotFound(err)
}

func setup(t *testing.T, build func(ctrl.Manager) error) runtimetest.Setup[*app] {
	t.Helper()
	g := NewWithT(t)
	c := kube.Start(t, kube.Options{CRDs: []string{"../internal/testapi/crd.yaml"}})
	s := runtime.NewScheme()
	g.Expect(testapi.AddToScheme(s)).To(Succeed())
	cl, err := client.NewWithWatch(c.Config(), client.Options{Scheme: s})
	g.Expect(err).NotTo(HaveOccurred())
	ns := c.Namespace(t)
	return runtimetest.Setup[*app]{
		Client: cl, Namespace: ns, List: &testapi.AppList{}, Change: func(o *app) { o.Spec.Text = "changed" },
		New: func(namespace, name string) *app {
			return &app{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: testapi.AppSpec{Interval: meta.Duration{Duration: time.Hour}, Text: "x"}}
		},
		Start: func(ctx context.Context) error {
			m, err := ctrl.NewManager(c.Config(), ctrl.Options{
				Scheme: s, Logger: logr.Discard(), Metrics: metricsserver.Options{BindAddress: "0"},
				Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{ns: {}}},
			})
			if err != nil {
				return err
			}
			if err := build(m); err != nil {
				return err
			}
			return m.Start(ctx)
		},
	}
}

// RT-44: a controller on the harness passes.
func TestConformance(t *testing.T) {
	runtimetest.Conformance(t, setup(t, func(m ctrl.Manager) error {
		k := reconcile.Kit{Manager: m, Client: m.GetClient(), APIReader: m.GetAPIReader(), Name: "good-controller"}
		k.Config.StatusFlushInterval = time.Hour
		return reconcile.Setup(k, good{}, reconcile.Options[*app]{})
	}))
}

// RT-44: the suite fails a controller that is wrong in each checked way.
func TestSuiteFindsWhatIsWrong(t *testing.T) {
	g := NewWithT(t)
	s := setup(t, func(m ctrl.Manager) error {
		skip := true
		return ctrl.NewControllerManagedBy(m).Named("bad").For(&app{}).WithOptions(controller.Options{SkipNameValidation: &skip}).Complete(bad{m.GetClient()})
	})
	s.Timeout = 2 * time.Second
	found, err := runtimetest.Run(t.Context(), s)
	g.Expect(err).NotTo(HaveOccurred())
	scripts := map[string]bool{}
	for _, v := range found {
		scripts[v.Script] = true
	}
	for _, want := range []string{"token", "suspend", "idle", "delete", "status"} {
		g.Expect(scripts).To(HaveKey(want), "%v", found)
	}
}
