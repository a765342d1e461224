// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"os"

	"testing"

	"github.com/gitops-kit/sdk/ssa"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func config(t testing.TB) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv("SSA_KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// namespace makes a namespace for one test.
func namespace(t testing.TB) string {
	t.Helper()
	g := NewWithT(t)
	c, err := ssa.NewCluster(config(t), ssa.ClusterOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	name := "t-" + random(t)
	r, err := c.Resource(t.Context(), nsKind)
	g.Expect(err).NotTo(HaveOccurred())
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
	_, err = c.Send(t.Context(), ssa.Write{Verb: ssa.VerbCreate, Resource: r, Object: u, FieldManager: "setup"})
	g.Expect(err).NotTo(HaveOccurred())
	return name
}

var nsKind = schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
