// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

func deployment(annotations string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
spec:
  replicas: 2
  progressDeadlineSeconds: 2
  selector:
    matchLabels: {app: %[1]s}
  template:
    metadata:
      labels: {app: %[1]s}
      annotations: {%[2]s}
    spec:
      containers: [{name: main, image: "example.com/app:1"}]
`, "web", annotations)
}

func TestApply(t *testing.T) { // KUS-A2, KUS-A3, KUS-45, KUS-66, KUS-3, WIRE-16, WIRE-17
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("One", map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	repo := w.gitRepository(nil)
	o := w.kustomization(nil)
	w.applied(o, id)
	w.awaitReady(o)
	revision := "main@sha1:" + string(id)
	ready := w.await(o, meta.ReadyCondition, metav1.ConditionTrue, "ReconciliationSucceeded")
	w.Expect(ready.Message).To(Equal("Applied revision: " + revision))
	w.Expect(o.Status.LastAttemptedRevision).To(Equal(revision))
	w.Expect(o.Status.Inventory.Entries).To(ConsistOf(
		meta.InventoryEntry{ID: w.ns + "_a__ConfigMap", Version: "v1"},
		meta.InventoryEntry{ID: w.ns + "_b__ConfigMap", Version: "v1"},
	))
	w.Expect(o.Status.History).To(HaveLen(1))
	w.Expect(o.Status.History[0].LastReconciledStatus).To(Equal("ReconciliationSucceeded"))
	w.Expect(o.Status.History[0].Metadata).To(HaveKeyWithValue("revision", revision))
	w.Expect(o.Finalizers).To(Equal([]string{"finalizers.fluxcd.io"}))
	for _, f := range o.ManagedFields {
		if f.Subresource == "status" {
			w.Expect(f.Manager).To(Equal("gotk-kustomize-controller"))
		}
	}
	a := w.configMap("a")
	w.Expect(a.Labels).To(And(
		HaveKeyWithValue("kustomize.toolkit.fluxcd.io/name", "app"),
		HaveKeyWithValue("kustomize.toolkit.fluxcd.io/namespace", w.ns)))
	w.Expect(a.ManagedFields[0].Manager).To(Equal("kustomize-controller"))
	w.Expect(a.ManagedFields[0].Operation).To(Equal(metav1.ManagedFieldsOperationApply))

	change := w.awaitEvent(o, corev1.EventTypeNormal, "Progressing", "ConfigMap/"+w.ns+"/a created\nConfigMap/"+w.ns+"/b created")
	w.Expect(change.Annotations).To(HaveKeyWithValue("kustomize.toolkit.fluxcd.io/revision", revision))
	done := w.awaitEvent(o, corev1.EventTypeNormal, "ReconciliationSucceeded", "Reconciliation finished in ")
	w.Expect(done.Message).To(HaveSuffix(", next run in 1h0m0s"))
	w.Expect(done.Annotations).To(HaveKeyWithValue("kustomize.toolkit.fluxcd.io/commit_status", "update"))

	// A new revision starts a run at once; only what changed is written.
	before := w.configMap("b").ResourceVersion
	id = w.commit("Two", map[string]string{"a.yaml": configMap("a", "2"), "b.yaml": configMap("b", "1")})
	w.request(repo)
	w.applied(o, id)
	w.Expect(w.configMap("a").Data["value"]).To(Equal("2"))
	w.Expect(w.configMap("b").ResourceVersion).To(Equal(before))
	w.awaitEvent(o, corev1.EventTypeNormal, "Progressing", "ConfigMap/"+w.ns+"/a configured")
}

func TestNoChangeNoWrite(t *testing.T) { // KUS-52, KUS-5, KUS-A20, KUS-A37
	t.Parallel()
	w := newWorld(t, gitserver.Options{}, "--status-flush-interval=1h")
	id := w.commit("One", map[string]string{"a.yaml": configMap("a", "1"), "d.yaml": deployment("")})
	w.gitRepository(nil)
	o := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Spec.Interval, o.Spec.Wait = *meta.NewDuration(time.Second), true
	})
	w.applied(o, id)
	version, object := o.ResourceVersion, w.configMap("a").ResourceVersion

	// Drift proves that runs happened meanwhile: the label is put back.
	for range 3 {
		a := w.configMap("a")
		delete(a.Data, "value")
		w.Expect(w.Update(w.ctx, a, client.FieldOwner("kustomize-controller-test"))).To(Succeed())
		w.Eventually(w.ctx, func() string { return w.configMap("a").Data["value"] }).WithTimeout(patience).Should(Equal("1"))
		w.applied(o, id)
		version, object = o.ResourceVersion, w.configMap("a").ResourceVersion
	}
	marker := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Name, o.Spec.NamePrefix = "marker", "other-"
	})
	w.applied(marker, id)
	for range 3 { // three more runs of another object, an idle second each
		token := w.request(marker)
		w.Eventually(w.ctx, func(g Gomega) {
			g.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(marker), marker)).To(Succeed())
			g.Expect(marker.Status.LastHandledReconcileAt).To(Equal(token))
		}).WithTimeout(patience).Should(Succeed())
	}
	w.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
	w.Expect(o.ResourceVersion).To(Equal(version), "%v", o.Status)
	w.Expect(w.configMap("a").ResourceVersion).To(Equal(object))
}

func TestDriftIsCorrected(t *testing.T) { // KUS-53, KUS-A20, KUS-48, KUS-A7
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("One", map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	w.gitRepository(nil)
	o := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Spec.Ignore = []kustomizev1.IgnoreRule{{Paths: []string{"/data/ignored"}}}
	})
	w.applied(o, id)

	a := w.configMap("a")
	a.Data["value"] = "edited"
	w.Expect(w.Update(w.ctx, a, client.FieldOwner("kubectl-edit"))).To(Succeed())
	w.Expect(w.Delete(w.ctx, w.configMap("b"))).To(Succeed())
	w.request(o)
	w.Eventually(w.ctx, func(g Gomega) {
		g.Expect(w.configMap("a").Data).To(Equal(map[string]string{"value": "1"}))
		var b corev1.ConfigMap
		g.Expect(w.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "b"}, &b)).To(Succeed())
	}).WithTimeout(patience).Should(Succeed())
	w.awaitEvent(o, corev1.EventTypeNormal, "Progressing", "ConfigMap/"+w.ns+"/a configured\nConfigMap/"+w.ns+"/b created")
}

func TestPrune(t *testing.T) { // KUS-60, KUS-A13, KUS-46, KUS-A8
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	keep := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: kept\n  annotations: {kustomize.toolkit.fluxcd.io/prune: Disabled}\n"
	id := w.commit("One", map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1"), "c.yaml": keep})
	repo := w.gitRepository(nil)
	o := w.kustomization(nil)
	w.applied(o, id)
	id = w.commit("Two", map[string]string{"a.yaml": configMap("a", "1")})
	w.request(repo)
	w.applied(o, id)
	w.gone(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "b"}})
	w.configMap("kept")
	w.awaitEvent(o, corev1.EventTypeNormal, "Progressing", "ConfigMap/"+w.ns+"/b deleted")
	for _, e := range o.Status.Inventory.Entries {
		w.Expect(e.ID).NotTo(Equal(w.ns + "_b__ConfigMap"))
	}
}

func TestPruneOff(t *testing.T) { // KUS-60
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("One", map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	repo := w.gitRepository(nil)
	o := w.kustomization(func(o *kustomizev1.Kustomization) { o.Spec.Prune = false })
	w.applied(o, id)
	id = w.commit("Two", map[string]string{"a.yaml": configMap("a", "1")})
	w.request(repo)
	w.applied(o, id)
	w.configMap("b")
	w.Expect(o.Status.Inventory.Entries).To(Equal([]meta.InventoryEntry{{ID: w.ns + "_a__ConfigMap", Version: "v1"}}))
}

func TestPruneBudgetAndApproval(t *testing.T) { // KUS-63, KUS-A16
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	files := map[string]string{"a.yaml": configMap("a", "1")}
	for i := range 3 {
		files[fmt.Sprintf("x%d.yaml", i)] = configMap(fmt.Sprintf("x%d", i), "1")
	}
	id := w.commit("One", files)
	repo := w.gitRepository(nil)
	o := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Annotations = map[string]string{"gitops-kit.github.io/prune-budget": "1"}
	})
	w.applied(o, id)
	id = w.commit("Two", map[string]string{"a.yaml": configMap("a", "1")})
	w.request(repo)
	w.unsuccessful(o, "PruneBlocked", "3 objects would be deleted", "gitops-kit.github.io/prune-approved: ")
	c := w.await(o, meta.StalledCondition, metav1.ConditionTrue, "PruneBlocked")
	w.configMap("x0")
	digest := c.Message[len(c.Message)-12:]
	w.Expect(w.Patch(w.ctx, o, client.RawPatch("application/merge-patch+json",
		fmt.Appendf(nil, `{"metadata":{"annotations":{"gitops-kit.github.io/prune-approved":%q}}}`, digest)))).To(Succeed())
	w.request(o)
	w.applied(o, id)
	w.gone(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "x0"}})
}

func TestTransformersAndSubstitution(t *testing.T) { // KUS-21, KUS-30, KUS-31, KUS-32, KUS-33, KUS-A10, KUS-A11
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("One", map[string]string{
		"app/kustomization.yaml":   "resources: [a.yaml]\n",
		"app/a.yaml":               "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  value: \"${region}-${size:=small}-${name}-$${kept}\"\n",
		"extra/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [b.yaml]\n",
		"extra/b.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n  annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}\ndata:\n  value: ${untouched}\n",
	})
	w.Expect(w.Create(w.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "vars"}, Data: map[string]string{"region": "eu", "name": "from-config"}})).To(Succeed())
	w.secret("more", map[string]string{"name": "from-secret"})
	repo := w.gitRepository(nil)
	o := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Spec.Path = "./app"
		o.Spec.NamePrefix, o.Spec.NameSuffix = "x-", "-y"
		o.Spec.Components = []string{"../extra", "../absent"}
		o.Spec.IgnoreMissingComponents = true
		o.Spec.CommonMetadata = &kustomizev1.CommonMetadata{Labels: map[string]string{"team": "blue"}, Annotations: map[string]string{"note": "all"}}
		o.Spec.Patches = []meta.Patch{{Patch: "- {op: add, path: /data/patched, value: \"yes\"}\n", Target: &meta.Selector{Name: "a"}}}
		o.Spec.PostBuild = &kustomizev1.PostBuild{
			Substitute: map[string]string{"size": "large"},
			SubstituteFrom: []kustomizev1.SubstituteReference{
				{Kind: "ConfigMap", Name: "vars"}, {Kind: "Secret", Name: "more"}, {Kind: "ConfigMap", Name: "absent", Optional: true},
			},
		}
	})
	w.applied(o, id)
	a := w.configMap("x-a-y")
	w.Expect(a.Data).To(Equal(map[string]string{"value": "eu-large-from-secret-${kept}", "patched": "yes"}))
	w.Expect(a.Labels).To(HaveKeyWithValue("team", "blue"))
	w.Expect(a.Annotations).To(HaveKeyWithValue("note", "all"))
	w.Expect(w.configMap("x-b-y").Data["value"]).To(Equal("${untouched}"))

	w.commit("Unset", map[string]string{"app/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  value: ${missing}\n"})
	w.request(repo)
	w.unsuccessful(o, "BuildFailed", "post build failed for", "variable not set (strict mode): \"missing\"")
	w.configMap("x-b-y")

	w.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
	o.Spec.PostBuild.SubstituteFrom[2].Optional = false
	w.Expect(w.Update(w.ctx, o)).To(Succeed())
	w.unsuccessful(o, "BuildFailed", "ConfigMap/absent", "check spec.postBuild.substituteFrom")

	// The reference appears, labelled: no request is needed. KUS-7
	w.Expect(w.Create(w.ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "absent", Labels: map[string]string{"reconcile.fluxcd.io/watch": "Enabled"}},
		Data:       map[string]string{"missing": "found"},
	})).To(Succeed())
	w.awaitReady(o)
	w.Expect(w.configMap("x-a-y").Data["value"]).To(Equal("found"))
}

func TestHealth(t *testing.T) { // KUS-70, KUS-71, KUS-72, KUS-A18
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("One", map[string]string{"d.yaml": deployment("")})
	repo := w.gitRepository(nil)
	o := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Spec.Wait = true
		o.Spec.Timeout = meta.NewDuration(40 * time.Second)
	})
	w.applied(o, id)
	w.Expect(w.await(o, meta.HealthyCondition, metav1.ConditionTrue, "Succeeded").Message).To(HavePrefix("Health check passed in "))
	var d appsv1.Deployment
	w.Expect(w.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "web"}, &d)).To(Succeed())
	w.Expect(d.Status.AvailableReplicas).To(Equal(int32(2)))
	w.awaitEvent(o, corev1.EventTypeNormal, "Progressing", "Health check passed in ")

	// A Deployment that exceeds its deadline fails the check early.
	w.commit("Two", map[string]string{"d.yaml": deployment("kubelet.gitops-kit.github.io/fail: never-ready")})
	w.request(repo)
	w.unsuccessful(o, "HealthCheckFailed", "health check failed after ", "failed early due to stalled resources: [Deployment/"+w.ns+"/web status: 'Failed'")
	w.await(o, meta.HealthyCondition, metav1.ConditionFalse, "HealthCheckFailed")
	w.Expect(o.Status.LastAppliedRevision).To(Equal("main@sha1:" + string(id)))

	id = w.commit("Three", map[string]string{"d.yaml": deployment("")})
	w.request(repo)
	w.applied(o, id)
}

func TestDependsOn(t *testing.T) { // KUS-11, KUS-12, KUS-14, KUS-15, KUS-A17
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("One", map[string]string{"base/a.yaml": configMap("a", "1"), "top/b.yaml": configMap("b", "1")})
	w.gitRepository(nil)
	top := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Name, o.Spec.Path = "top", "./top"
		o.Spec.DependsOn = []meta.DependencyReference{{Name: "base"}}
	})
	c := w.await(top, meta.ReadyCondition, metav1.ConditionFalse, "DependencyNotReady")
	w.Expect(c.Message).To(HavePrefix("dependency '" + w.ns + "/base' not found: "))
	w.awaitEvent(top, corev1.EventTypeNormal, "DependencyNotReady", "Dependencies do not meet ready condition, retrying in 2s")
	base := w.kustomization(func(o *kustomizev1.Kustomization) { o.Name, o.Spec.Path = "base", "./base" })
	w.applied(base, id)
	w.applied(top, id)

	expr := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Name, o.Spec.Path, o.Spec.NamePrefix = "expr", "./top", "expr-"
		o.Spec.DependsOn = []meta.DependencyReference{{Name: "base", ReadyExpr: "dep.metadata.labels['ok'] == self.metadata.name"}}
	})
	c = w.await(expr, meta.ReadyCondition, metav1.ConditionFalse, "DependencyNotReady")
	w.Expect(c.Message).To(ContainSubstring("is not ready according to readyExpr eval"))
	w.Expect(w.Patch(w.ctx, base, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"ok":"expr"}}}`)))).To(Succeed())
	w.applied(expr, id)

	w.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(base), base)).To(Succeed())
	base.Spec.DependsOn = []meta.DependencyReference{{Name: "top"}}
	w.Expect(w.Update(w.ctx, base)).To(Succeed())
	c = w.await(base, meta.StalledCondition, metav1.ConditionTrue, "DependencyCycle")
	w.Expect(c.Message).To(And(ContainSubstring(w.ns+"/base"), ContainSubstring(w.ns+"/top")))
}

func TestImpersonation(t *testing.T) { // KUS-80, KUS-A24
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("One", map[string]string{"a.yaml": configMap("a", "1")})
	w.gitRepository(nil)
	w.Expect(w.Create(w.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "tenant"}})).To(Succeed())
	o := w.kustomization(func(o *kustomizev1.Kustomization) { o.Spec.ServiceAccountName = "tenant" })
	w.unsuccessful(o, "ReconciliationFailed", "system:serviceaccount:"+w.ns+":tenant")
	err := w.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "a"}, &corev1.ConfigMap{})
	w.Expect(apierrors.IsNotFound(err)).To(BeTrue())

	w.Expect(w.Create(w.ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "tenant"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"*"}}},
	})).To(Succeed())
	w.Expect(w.Create(w.ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "tenant"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "tenant"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.ns, Name: "tenant"}},
	})).To(Succeed())
	w.request(o)
	w.applied(o, id)
}

// With --reference-identity=tenant a tenant reaches no Secret through
// substituteFrom that its own account may not read.
func TestReferencesAreReadAsTheTenant(t *testing.T) { // KUS-30
	t.Parallel()
	w := newWorld(t, gitserver.Options{}, "--reference-identity=tenant")
	id := w.commit("One", map[string]string{"a.yaml": configMap("a", "${password}")})
	w.gitRepository(nil)
	w.secret("vars", map[string]string{"password": "hunter2"})
	w.Expect(w.Create(w.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "tenant"}})).To(Succeed())
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "tenant"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"*"}}},
	}
	w.Expect(w.Create(w.ctx, role)).To(Succeed())
	w.Expect(w.Create(w.ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "tenant"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "tenant"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.ns, Name: "tenant"}},
	})).To(Succeed())
	o := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Spec.ServiceAccountName = "tenant"
		o.Spec.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "Secret", Name: "vars"}}}
	})
	w.unsuccessful(o, "BuildFailed", "Secret/vars", "system:serviceaccount:"+w.ns+":tenant")
	err := w.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "a"}, &corev1.ConfigMap{})
	w.Expect(apierrors.IsNotFound(err)).To(BeTrue())

	role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}})
	w.Expect(w.Update(w.ctx, role)).To(Succeed())
	w.request(o)
	w.applied(o, id)
	w.Expect(w.configMap("a").Data).To(ContainElement("hunter2"))
}

func TestForceRecreatesOnlyWhenAsked(t *testing.T) { // KUS-47, KUS-A9
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	immutable := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\nimmutable: true\ndata:\n  value: %q\n"
	id := w.commit("One", map[string]string{"a.yaml": fmt.Sprintf(immutable, "1")})
	repo := w.gitRepository(nil)
	o := w.kustomization(nil)
	w.applied(o, id)
	uid := w.configMap("a").UID
	id = w.commit("Two", map[string]string{"a.yaml": fmt.Sprintf(immutable, "2")})
	w.request(repo)
	w.unsuccessful(o, "ReconciliationFailed", "ConfigMap/"+w.ns+"/a", "immutable")
	w.Expect(w.configMap("a").UID).To(Equal(uid))
	w.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
	o.Spec.Force = true
	w.Expect(w.Update(w.ctx, o)).To(Succeed())
	w.applied(o, id)
	w.Expect(w.configMap("a").UID).NotTo(Equal(uid))
	w.Expect(w.configMap("a").Data["value"]).To(Equal("2"))
}

func TestDeletion(t *testing.T) { // KUS-90, KUS-91, KUS-A30, WIRE-18
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("One", map[string]string{"a.yaml": configMap("a", "1")})
	w.gitRepository(nil)
	for name, tc := range map[string]struct {
		policy         string
		prune, suspend bool
		gone           bool
	}{
		"mirror":    {prune: true, gone: true},
		"unpruned":  {},
		"orphan":    {policy: "Orphan", prune: true},
		"delete":    {policy: "Delete", gone: true},
		"wait":      {policy: "WaitForTermination", prune: true, gone: true},
		"suspended": {policy: "Delete", prune: true, suspend: true},
	} {
		o := w.kustomization(func(o *kustomizev1.Kustomization) {
			o.Name, o.Spec.NamePrefix = name, name+"-"
			o.Spec.DeletionPolicy, o.Spec.Prune = tc.policy, tc.prune
		})
		w.applied(o, id)
		if tc.suspend {
			o.Spec.Suspend = true
			w.Expect(w.Update(w.ctx, o)).To(Succeed())
		}
		w.Expect(w.Delete(w.ctx, o)).To(Succeed())
		w.gone(o)
		err := w.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name + "-a"}, &corev1.ConfigMap{})
		w.Expect(apierrors.IsNotFound(err)).To(Equal(tc.gone), name)
	}
}

func TestStages(t *testing.T) { // KUS-A5, KUS-45
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	group := w.cluster.Name(t, "widgets") + ".example.com"
	id := w.commit("One", map[string]string{"all.yaml": fmt.Sprintf(`
apiVersion: %[1]s/v1
kind: Widget
metadata: {name: w}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.%[1]s}
spec:
  group: %[1]s
  names: {kind: Widget, plural: widgets}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object}}
`, group)})
	w.gitRepository(nil)
	o := w.kustomization(nil)
	w.applied(o, id)
	w.Expect(o.Status.Inventory.Entries).To(HaveLen(2))
	w.Expect(o.Status.Inventory.Entries[0].ID).To(Equal("_widgets." + group + "_apiextensions.k8s.io_CustomResourceDefinition"))
	w.Expect(w.Delete(w.ctx, o)).To(Succeed())
	w.gone(o)
}

func TestMoveBetweenSets(t *testing.T) { // KUS-65, KUS-49, KUS-A16
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("One", map[string]string{"one/a.yaml": configMap("a", "1"), "one/m.yaml": configMap("moved", "1"), "two/b.yaml": configMap("b", "1")})
	repo := w.gitRepository(nil)
	one := w.kustomization(func(o *kustomizev1.Kustomization) { o.Name, o.Spec.Path = "one", "./one" })
	two := w.kustomization(func(o *kustomizev1.Kustomization) { o.Name, o.Spec.Path = "two", "./two" })
	w.applied(one, id)
	w.applied(two, id)
	uid := w.configMap("moved").UID
	id = w.commit("Two", map[string]string{"one/a.yaml": configMap("a", "1"), "two/m.yaml": configMap("moved", "1"), "two/b.yaml": configMap("b", "1")})
	w.request(repo)
	w.applied(one, id)
	w.applied(two, id)
	moved := w.configMap("moved")
	w.Expect(moved.UID).To(Equal(uid))
	w.Expect(moved.Labels).To(HaveKeyWithValue("kustomize.toolkit.fluxcd.io/name", "two"))
}

func TestRestartKeepsEverything(t *testing.T) { // KUS-A14
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("One", map[string]string{"a.yaml": configMap("a", "1")})
	repo := w.gitRepository(nil)
	o := w.kustomization(nil)
	w.applied(o, id)
	version := w.configMap("a").ResourceVersion
	w.Expect(w.stop()).To(Equal(0))
	w.start()
	token := w.request(o)
	w.Eventually(w.ctx, func(g Gomega) {
		g.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
		g.Expect(o.Status.LastHandledReconcileAt).To(Equal(token))
	}).WithTimeout(patience).Should(Succeed())
	w.awaitReady(o)
	w.Expect(w.configMap("a").ResourceVersion).To(Equal(version))
	w.awaitReady(repo)
	w.download(repo.Status.Artifact)
}
