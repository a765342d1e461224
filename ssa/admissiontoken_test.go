// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// SSA-40: what belongs to the token of a kind: mutating policies and their
// bindings, webhooks by wildcards; not their certificates, and nothing that
// is for other kinds. The kind is one of the test's own, which no other test
// has hooks for.
func TestTokenOfAdmission(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	watcher := ssa.WatchEnvironment(ctx, e.cluster)
	g.Eventually(watcher.Synced()).Should(BeClosed())
	group := e.ns + ".example.com"
	token := func(resource string) string {
		tk, err := watcher.Token(t.Context(), schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(tk.Admission).NotTo(BeEmpty())
		return tk.Admission
	}
	version := e.resource("admissionregistration.k8s.io", "", "MutatingAdmissionPolicy").GVK.Version
	policy := func(name, resource, extra string) *unstructured.Unstructured {
		return e.objects(strings.NewReplacer("VERSION", version, "NAME", name, "GROUP", group, "RESOURCE", resource, "EXTRA", extra).Replace(`
apiVersion: admissionregistration.k8s.io/VERSION
kind: MutatingAdmissionPolicy
metadata: {name: NAME.NS}
spec:
  reinvocationPolicy: Never
  failurePolicy: Ignore
  matchConstraints:
    resourceRules: [{apiGroups: [GROUP], apiVersions: ["*"], operations: [CREATE], resources: [RESOURCE]}]
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"x": "EXTRA"}}}'}
`))[0]
	}
	binding := func(name, policy, selector string) *unstructured.Unstructured {
		return e.objects(strings.NewReplacer("VERSION", version, "NAME", name, "POLICY", policy, "SELECTOR", selector).Replace(`
apiVersion: admissionregistration.k8s.io/VERSION
kind: MutatingAdmissionPolicyBinding
metadata: {name: NAME.NS}
spec: {policyName: POLICY.NS, matchResources: {namespaceSelector: {matchLabels: {SELECTOR: x}}}}
`))[0]
	}
	webhook := func(name, groups, resources string) *unstructured.Unstructured {
		return e.objects(strings.NewReplacer("NAME", name, "GROUPS", groups, "RESOURCES", resources).Replace(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: NAME.NS}
webhooks:
- name: a.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  namespaceSelector: {matchLabels: {none: such}}
  clientConfig: {url: "https://127.0.0.1:1/"}
  rules: [{apiGroups: ["GROUPS"], apiVersions: ["*"], operations: [CREATE], resources: ["RESOURCES"]}]
`))[0]
	}
	create := func(u *unstructured.Unstructured) {
		e.createAs("x", u)
		t.Cleanup(func() { e.delete(u) })
	}
	// changes does something and waits until the token of one resource is
	// another; that of the others stays.
	changes := func(what, resource string, do func(), others ...string) {
		before := token(resource)
		same := map[string]string{}
		for _, o := range others {
			same[o] = token(o)
		}
		do()
		g.Eventually(func() string { return token(resource) }).ShouldNot(Equal(before), what)
		for o, was := range same {
			g.Expect(token(o)).To(Equal(was), "%s: of %s", what, o)
		}
	}
	first := policy("first", "ones", "1")
	changes("a policy", "ones", func() { create(first) }, "twos")
	changes("another mutation of it", "ones", func() {
		e.patch("x", first, `[{"op":"replace","path":"/spec/mutations/0/applyConfiguration/expression","value":"Object{metadata: Object.metadata{labels: {\"x\": \"2\"}}}"}]`)
	}, "twos")
	bound := binding("bound", "first", "a")
	changes("its binding", "ones", func() { create(bound) }, "twos")
	changes("another scope of the binding", "ones", func() {
		e.patch("x", bound, `[{"op":"replace","path":"/spec/matchResources/namespaceSelector/matchLabels","value":{"b":"x"}}]`)
	}, "twos")
	changes("the end of the binding", "ones", func() { e.delete(bound) }, "twos")

	hook := webhook("hook", group, "*/*")
	changes("a webhook for every resource of the group", "ones", func() { create(hook) })
	changes("a webhook for all groups, and subresources", "twos", func() { create(webhook("all", "*", "twos/status")) }, "ones")
	// The certificate alone changes nothing: what is seen after it has come by
	// the same watch, so it was seen, too.
	was := token("ones")
	changes("a marker behind the certificate", "marks", func() {
		e.patch("x", hook, `[{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="}]`)
		create(webhook("marker", group, "marks"))
	})
	g.Expect(token("ones")).To(Equal(was))
	changes("its failure policy", "ones", func() {
		e.patch("x", hook, `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"}]`)
	})
}
