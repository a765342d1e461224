// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package v1_test

import (
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/testserver/kube"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

const crds = "../../../controllers/config/crd/bases"

// CRD-1, CRD-4, DUR-1, SRC-1, N27: what the API server accepts, what it refuses,
// and with which path and message.
func TestValidation(t *testing.T) {
	c := kube.Start(t, kube.Options{CRDs: []string{crds}})
	ns := c.Namespace(t)
	client, err := dynamic.NewForConfig(c.Config())
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	git := func(spec string) string {
		return "source/gitrepositories/GitRepository\nurl: https://example.com/a.git\n" + spec
	}
	bucket := func(spec string) string {
		return "source/buckets/Bucket\nbucketName: b\nendpoint: e\ninterval: 1m\n" + spec
	}
	kustomization := func(spec string) string {
		return "kustomize/kustomizations/Kustomization\ninterval: 1m\nprune: true\nsourceRef: {kind: GitRepository, name: a}\n" + spec
	}
	cases := map[string]struct {
		in, want string // want is empty for an accepted object
	}{
		"Git":            {git("interval: 5m"), ""},
		"GitSub":         {git("interval: 1.5h"), ""},
		"GitSSH":         {git("interval: 5m\ntimeout: 90s\nverify: {mode: head, secretRef: {name: k}}"), ""},
		"AccessFrom":     {git("interval: 5m\naccessFrom: {namespaceSelectors: [{matchLabels: {}}]}"), ""},
		"NoInterval":     {git("suspend: true"), "spec.interval: Required value"},
		"Huge":           {git("interval: 999999999999h"), "spec.interval: Invalid value"},
		"Long":           {git("interval: " + strings.Repeat("1", 10000) + "s"), "spec.interval: Too long: may not be more than 32"},
		"Negative":       {git("interval: -1s"), "spec.interval in body should match"},
		"Zero":           {git("interval: 0s"), "must be between 1s and 8760h"},
		"NoUnit":         {git("interval: 1h30"), "spec.interval in body should match"},
		"Number":         {git("interval: 60"), "spec.interval: Invalid value: \"integer\""},
		"Object":         {git("interval: {a: b}"), "spec.interval: Invalid value: \"object\""},
		"TimeoutHours":   {git("interval: 5m\ntimeout: 1h"), "spec.timeout in body should match"},
		"Mode":           {git("interval: 5m\nverify: {mode: all, secretRef: {name: k}}"), "spec.verify.mode: Unsupported value"},
		"Provider":       {git("interval: 5m\nprovider: gcp"), "spec.provider: Unsupported value"},
		"AccountGeneric": {git("interval: 5m\nserviceAccountName: x"), "serviceAccountName can only be set when provider is 'azure' or 'aws'"},
		"AccountAWS":     {git("interval: 5m\nprovider: aws\nserviceAccountName: x"), ""},
		"AccountName":    {git("interval: 5m\nprovider: aws\nserviceAccountName: 'a:b'"), "spec.serviceAccountName in body should match"},
		"URL":            {"source/gitrepositories/GitRepository\nurl: git@example.com:a\ninterval: 5m", "spec.url in body should match"},
		"OCI":            {"source/ocirepositories/OCIRepository\nurl: oci://x/y\ninterval: 5m\nverify: {}", ""},
		"OCIURL":         {"source/ocirepositories/OCIRepository\nurl: https://x/y\ninterval: 5m", "spec.url in body should match"},
		"Helm":           {"source/helmrepositories/HelmRepository\nurl: oci://x/y\ntype: oci", ""},
		"Chart":          {"source/helmcharts/HelmChart\nchart: a\ninterval: 5m\nsourceRef: {kind: HelmRepository, name: a}\nverify: {provider: cosign}", ""},
		"ChartVerify":    {"source/helmcharts/HelmChart\nchart: a\ninterval: 5m\nsourceRef: {kind: Bucket, name: a}\nverify: {provider: cosign}", "spec.verify is only supported when spec.sourceRef.kind is 'HelmRepository'"},
		"Bucket":         {bucket(""), ""},
		"BucketSTS":      {bucket("sts: {provider: aws, endpoint: 'https://x'}"), "'ldap' is the only supported STS provider for the 'generic' Bucket provider"},
		"BucketGCPSTS":   {bucket("provider: gcp\nsts: {provider: aws, endpoint: 'https://x'}"), "STS configuration is only supported for the 'aws' and 'generic' Bucket providers"},
		"BucketSecret":   {bucket("provider: aws\nsts: {provider: aws, endpoint: 'https://x', secretRef: {name: a}}"), "spec.sts.secretRef is not required for the 'aws' STS provider"},
		"BucketBoth":     {bucket("provider: aws\nsecretRef: {name: a}\nserviceAccountName: a"), "cannot set both .spec.secretRef and .spec.serviceAccountName"},
		"BucketAccount":  {bucket("serviceAccountName: a"), "ServiceAccountName is not supported for the 'generic' Bucket provider"},
		"External":       {"source/externalartifacts/ExternalArtifact\nsourceRef: {kind: X, name: a}", ""},
		"Kustomization":  {kustomization("dependsOn: [{name: a, kind: HelmRelease}]\nkubeConfig: {secretRef: {name: a}}"), ""},
		"KubeBoth":       {kustomization("kubeConfig: {secretRef: {name: a}, configMapRef: {name: b}}"), "exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"},
		"KubeNone":       {kustomization("kubeConfig: {}"), "exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"},
		"Target":         {kustomization("targetNamespace: ''"), "spec.targetNamespace in body should be at least 1 chars long"},
		"Policy":         {kustomization("deletionPolicy: Keep"), "spec.deletionPolicy: Unsupported value"},
		"BuildMetadata":  {kustomization("buildMetadata: [x]"), "spec.buildMetadata[0]: Unsupported value"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			head, spec, _ := strings.Cut(tc.in, "\n")
			part := strings.Split(head, "/")
			group := part[0] + ".toolkit.fluxcd.io"
			var m map[string]any
			g.Expect(yaml.Unmarshal([]byte(spec), &m)).To(Succeed())
			o := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": group + "/v1", "kind": part[2],
				"metadata": map[string]any{"name": strings.ToLower(name)}, "spec": m,
			}}
			validation := "Strict" // every field of an accepted object is known
			if tc.want != "" {
				validation = "Ignore" // so that the schema's own message is seen
			}
			got, err := client.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: part[1]}).Namespace(ns).
				Create(t.Context(), o, metav1.CreateOptions{FieldValidation: validation})
			if tc.want != "" {
				g.Expect(err).To(HaveOccurred())
				g.Expect(err.Error()).To(ContainSubstring(tc.want))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			if part[2] != "ExternalArtifact" {
				g.Expect(got.Object["status"]).To(Equal(map[string]any{"observedGeneration": int64(-1)}), "WIRE-19")
			}
		})
	}
}
