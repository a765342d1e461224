// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitops-kit/sdk/testserver/artifactserver"
	"github.com/gitops-kit/sdk/testserver/kube"
	"github.com/gitops-kit/sdk/testserver/source"
)

// definition is a permissive CustomResourceDefinition with a status subresource.
func definition(kind string) runtime.Object {
	plural := map[string]string{
		"GitRepository": "gitrepositories", "OCIRepository": "ocirepositories", "HelmRepository": "helmrepositories",
	}[kind]
	if plural == "" {
		plural = strings.ToLower(kind) + "s"
	}
	open := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": plural + ".source.toolkit.fluxcd.io"},
		"spec": map[string]any{
			"group": "source.toolkit.fluxcd.io", "scope": "Namespaced",
			"names": map[string]any{"kind": kind, "plural": plural, "singular": strings.ToLower(kind)},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true, "subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{"spec": open, "status": open}}},
			}},
		},
	}}
}

// TST-25
func TestApply(t *testing.T) {
	var crds []runtime.Object
	for _, k := range source.Kinds() {
		crds = append(crds, definition(k))
	}
	cluster := kube.Start(t, kube.Options{CRDObjects: crds})
	w, err := source.New(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	files := artifactserver.Start(t, artifactserver.Options{})
	for _, k := range source.Kinds() {
		t.Run(k, func(t *testing.T) {
			g := NewWithT(t)
			ns := cluster.Namespace(t)
			a := files.Publish(k, ns, "app", "main@sha1:abc", artifactserver.Files{"a.yaml": "a: 1\n"})
			o := source.Object{Kind: k, Namespace: ns, Name: "app", Artifact: &a, Metadata: map[string]string{"m": "v"}}
			obj, err := w.Apply(t.Context(), o)
			g.Expect(err).NotTo(HaveOccurred())
			url, _, _ := unstructured.NestedString(obj.Object, "status", "artifact", "url")
			g.Expect(url).To(Equal(a.URL))
			g.Expect(ready(obj)).To(Equal("True Succeeded"))

			o.NotReady, o.StaleGeneration, o.Labels = "cannot reach it", true, map[string]string{"l": "v"}
			obj, err = w.Apply(t.Context(), o)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(ready(obj)).To(Equal("False Failed"))
			g.Expect(obj.GetLabels()).To(HaveKeyWithValue("l", "v"))
			digest, _, _ := unstructured.NestedString(obj.Object, "status", "artifact", "digest")
			g.Expect(digest).To(Equal(a.Digest), "the artifact stays")
			g.Expect(w.Delete(t.Context(), o)).To(Succeed())
			g.Expect(w.Delete(t.Context(), o)).NotTo(Succeed())
		})
	}
	_, err = w.Apply(t.Context(), source.Object{Kind: "Pod"})
	NewWithT(t).Expect(err).To(MatchError(source.ErrKind))
}

func ready(obj *unstructured.Unstructured) string {
	list, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	c, _ := list[0].(map[string]any)
	return fmt.Sprint(c["status"], " ", c["reason"])
}

// TST-25: the definitions of this project accept what is written.
func TestOwnDefinitions(t *testing.T) {
	dir := filepath.Join("..", "..", "controllers", "config", "crd", "bases")
	if _, err := os.Stat(dir); err != nil {
		return // outside the repository there are none
	}
	g := NewWithT(t)
	cluster := kube.Private(t, kube.Options{CRDs: []string{dir}})
	w, err := source.New(cluster.Config())
	g.Expect(err).NotTo(HaveOccurred())
	files := artifactserver.Start(t, artifactserver.Options{})
	for _, k := range source.Kinds() {
		a := files.Publish(k, "default", "app", "main@sha1:"+strings.Repeat("a", 40), artifactserver.Files{"a": "b"})
		obj, err := w.Apply(t.Context(), source.Object{Kind: k, Namespace: "default", Name: "app", Artifact: &a})
		g.Expect(err).NotTo(HaveOccurred(), k)
		got, _, _ := unstructured.NestedString(obj.Object, "status", "artifact", "url")
		g.Expect(got).To(Equal(a.URL), k)
	}
}

func ExampleKinds() {
	fmt.Println(strings.Join(source.Kinds(), " "))
	// Output: Bucket ExternalArtifact GitRepository HelmChart HelmRepository OCIRepository
}
