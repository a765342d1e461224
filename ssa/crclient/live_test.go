// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package crclient_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/crclient"
	"github.com/gitops-kit/sdk/testserver/kube"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// SSA-29, SSA-100: live state from a watch cache costs no request.
func TestLiveFromCache(t *testing.T) {
	g := NewWithT(t)
	server := kube.Start(t, kube.Options{})
	ns := server.Namespace(t)
	c, err := cache.New(server.Config(), cache.Options{DefaultNamespaces: map[string]cache.Config{ns: {}}})
	g.Expect(err).NotTo(HaveOccurred())
	cluster, err := ssa.NewCluster(server.Config(), ssa.ClusterOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	m, err := ssa.NewManager(cluster, ssa.Options{Owner: ssa.Owner{FieldManager: "m", LabelGroup: "g.example.com", Name: ns}, Live: crclient.Live(c)})
	g.Expect(err).NotTo(HaveOccurred())
	objects, err := ssa.ReadObjects(strings.NewReader("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: "+ns+"}\ndata: {a: b}\n"), ssa.ReadOptions{})
	g.Expect(err).NotTo(HaveOccurred())

	p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(errors.Is(err, ssa.ErrLiveNotSynced)).To(BeTrue(), "%v", err)
	g.Expect(p.Entries[0].Decision).To(Equal(ssa.DecisionBlocked))

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Start(ctx) }()
	g.Expect(c.WaitForCacheSync(ctx)).To(BeTrue())
	p, err = m.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() string {
		p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		return fmt.Sprint(p.Entries[0].Why, p.Requests)
	}, "90s").Should(Equal(fmt.Sprint(ssa.WhyProved, ssa.Requests{})))
	cancel()
	g.Expect(<-done).NotTo(HaveOccurred())
}

// empty is a reader of nothing.
type empty struct{ client.Reader }

func (empty) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, key.Name)
}

func ExampleLive() {
	reader := crclient.Live(empty{}) // in a controller: mgr.GetCache()
	var u *unstructured.Unstructured
	u, err := reader.Live(context.Background(), ssa.Resource{}, "ns", "a")
	fmt.Println(u == nil, err)
	// Output: true configmaps "a" not found
}
