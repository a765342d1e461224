// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// A name that would make another path of the request, as ".." makes that of
// the namespace, is never sent.
func TestNamesInPaths(t *testing.T) {
	g := NewWithT(t)
	var requests atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer srv.Close()
	c, err := ssa.NewCluster(&rest.Config{Host: srv.URL}, ssa.ClusterOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	r := ssa.Resource{GVK: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, GVR: schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, Namespaced: true}
	for _, bad := range []string{"..", ".", "a/b", "../x", "a%2f"} {
		for _, at := range [][2]string{{"ns", bad}, {bad, "name"}} {
			_, err := c.Get(t.Context(), r, at[0], at[1])
			g.Expect(errors.Is(err, ssa.ErrInvalidObject)).To(BeTrue(), "%q: %v", at, err)
			for _, verb := range []ssa.Verb{ssa.VerbDelete, ssa.VerbJSONPatch} {
				_, err = c.Send(t.Context(), ssa.Write{Verb: verb, Resource: r, Namespace: at[0], Name: at[1]})
				g.Expect(errors.Is(err, ssa.ErrInvalidObject)).To(BeTrue(), "%q: %v", at, err)
			}
		}
		_, err := c.Watch(t.Context(), r, ssa.ListOptions{Namespace: bad})
		g.Expect(errors.Is(err, ssa.ErrInvalidObject)).To(BeTrue(), "%q: %v", bad, err)
		for _, err := range c.List(t.Context(), r, ssa.ListOptions{Namespace: bad}) {
			g.Expect(errors.Is(err, ssa.ErrInvalidObject)).To(BeTrue(), "%q: %v", bad, err)
		}
	}
	g.Expect(requests.Load()).To(BeZero())
}
