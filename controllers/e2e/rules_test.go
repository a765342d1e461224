// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/testserver/eventserver"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

func TestReferenceToAnotherNamespace(t *testing.T) { // KUS-8, KUS-A23, ACL-3
	t.Parallel()
	w := newWorld(t, gitserver.Options{}, "--no-cross-namespace-refs")
	id := w.commit("One", map[string]string{"a.yaml": configMap("a", "1")})
	w.gitRepository(nil)
	denied := w.kustomization(func(o *kustomizev1.Kustomization) { o.Name, o.Spec.SourceRef.Namespace = "denied", "elsewhere" })
	const text = "can't access 'GitRepository/elsewhere/app', cross-namespace references have been blocked"
	w.Expect(w.await(denied, meta.StalledCondition, metav1.ConditionTrue, "AccessDenied").Message).To(Equal(text))
	w.awaitEvent(denied, corev1.EventTypeWarning, "AccessDenied", text)
	own := w.kustomization(nil)
	w.applied(own, id)
}

func TestEventSink(t *testing.T) { // WIRE-24, WIRE-25, WIRE-27, KUS-A37
	t.Parallel()
	sink := eventserver.Start(t, eventserver.Options{Strict: true})
	w := newWorld(t, gitserver.Options{}, "--events-addr="+sink.URL())
	id := w.commit("One", map[string]string{"a.yaml": configMap("a", "1")})
	w.gitRepository(nil)
	o := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Annotations = map[string]string{"event.toolkit.fluxcd.io/team": "blue"}
	})
	w.applied(o, id)
	e, err := sink.Wait(w.ctx, func(e eventserver.Event) bool {
		return e.InvolvedObject.Kind == "Kustomization" && e.Reason == "ReconciliationSucceeded"
	})
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(e.Severity).To(Equal("info"))
	w.Expect(e.ReportingController).To(Equal("kustomize-controller"))
	w.Expect(e.InvolvedObject.Name + "." + e.InvolvedObject.Namespace).To(Equal("app." + w.ns))
	w.Expect(e.Metadata).To(And(
		HaveKeyWithValue("kustomize.toolkit.fluxcd.io/revision", "main@sha1:"+string(id)),
		HaveKeyWithValue("kustomize.toolkit.fluxcd.io/commit_status", "update"),
		HaveKeyWithValue("event.toolkit.fluxcd.io/team", "blue")))
	e, err = sink.Wait(w.ctx, func(e eventserver.Event) bool { return e.Reason == "NewArtifact" })
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(e.ReportingController).To(Equal("source-controller"))
}

func TestTeardownInReverseOrder(t *testing.T) { // KUS-94
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("One", map[string]string{"base/a.yaml": configMap("a", "1"), "top/b.yaml": configMap("b", "1")})
	w.gitRepository(nil)
	base := w.kustomization(func(o *kustomizev1.Kustomization) { o.Name, o.Spec.Path = "base", "./base" })
	top := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Name, o.Spec.Path = "top", "./top"
		o.Finalizers = []string{"example.com/hold"}
		o.Spec.DependsOn = []meta.DependencyReference{{Name: "base"}}
	})
	w.applied(top, id)
	w.Expect(w.Delete(w.ctx, top)).To(Succeed())
	w.Expect(w.Delete(w.ctx, base)).To(Succeed())
	w.awaitEvent(base, corev1.EventTypeNormal, "TeardownWaiting", w.ns+"/top")
	w.configMap("a")
	w.Expect(w.Patch(w.ctx, top, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))).To(Succeed())
	w.gone(top)
	w.gone(base)
	w.gone(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "a"}})
}

func TestDeletionWithoutTheAccount(t *testing.T) { // KUS-93, KUS-A24
	t.Parallel()
	w := newWorld(t, gitserver.Options{}, "--deletion-orphan-timeout=0")
	id := w.commit("One", map[string]string{"a.yaml": configMap("a", "1")})
	w.gitRepository(nil)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "tenant"}}
	w.Expect(w.Create(w.ctx, account)).To(Succeed())
	w.Expect(w.Create(w.ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "tenant"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.ns, Name: "tenant"}},
	})).To(Succeed())
	o := w.kustomization(func(o *kustomizev1.Kustomization) { o.Spec.ServiceAccountName = "tenant" })
	w.applied(o, id)
	w.Expect(w.Delete(w.ctx, account)).To(Succeed())
	w.Expect(w.Delete(w.ctx, o)).To(Succeed())
	w.gone(o)
	w.awaitEvent(o, corev1.EventTypeWarning, "PruneFailed", "unable to prune objects: \nConfigMap/"+w.ns+"/a")
	w.configMap("a") // nobody else deletes it
}
