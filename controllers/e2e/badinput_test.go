// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// refused waits for a failing source: the condition and Ready carry reason
// and text, and so does a Warning event.
func (w *world) refused(o *sourcev1.GitRepository, reason string, texts ...string) {
	w.t.Helper()
	ready := w.awaitText(o, meta.ReadyCondition, metav1.ConditionFalse, reason, texts...)
	c := w.await(o, sourcev1.FetchFailedCondition, metav1.ConditionTrue, reason)
	w.Expect(c.Message).To(Equal(ready.Message))
	for _, text := range texts {
		w.awaitEvent(o, corev1.EventTypeWarning, reason, text)
	}
}

// unsuccessful waits for a failing Kustomization, in condition and event.
func (w *world) unsuccessful(o *kustomizev1.Kustomization, reason string, texts ...string) {
	w.t.Helper()
	w.awaitText(o, meta.ReadyCondition, metav1.ConditionFalse, reason, texts...)
	for _, text := range texts {
		w.awaitEvent(o, corev1.EventTypeWarning, reason, text)
	}
}

// unharmed checks that what was applied before is still there, and listed.
func (w *world) unharmed(o *kustomizev1.Kustomization, uid string, names ...string) {
	w.t.Helper()
	w.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
	var ids []string
	for _, e := range o.Status.Inventory.Entries {
		ids = append(ids, e.ID)
	}
	for _, n := range names {
		w.Expect(ids).To(ContainElement(w.ns + "_" + n + "__ConfigMap"))
		w.Expect(string(w.configMap(n).UID)).To(Equal(uid))
	}
}

func TestUnknownHostKey(t *testing.T) { // SRC-84, SRC-16, SRC-A21
	t.Parallel()
	w := newWorld(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
	private, public, err := gitserver.NewKey(gitserver.Ed25519, "")
	w.Expect(err).NotTo(HaveOccurred())
	w.server.SetAuth(gitserver.Auth{AuthorizedKeys: map[string]string{public: "app"}})
	first := w.commit("First", map[string]string{"a.yaml": configMap("a", "1")})
	w.secret("ssh", map[string]string{"identity": string(private), "known_hosts": string(w.server.KnownHosts(gitserver.Plain))})
	o := w.gitRepository(func(o *sourcev1.GitRepository) {
		o.Spec.URL = w.repo.SSHURL()
		o.Spec.SecretRef = &meta.LocalObjectReference{Name: "ssh"}
	})
	w.awaitReady(o)
	good := o.Status.Artifact.DeepCopy()
	w.Expect(good.Revision).To(Equal("main@sha1:" + string(first)))

	var s corev1.Secret
	w.Expect(w.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "ssh"}, &s)).To(Succeed())
	s.Data["known_hosts"] = []byte("other.example.com " + public + "\n")
	w.Expect(w.Update(w.ctx, &s)).To(Succeed())
	w.commit("Second", map[string]string{"a.yaml": configMap("a", "2")})
	token := w.request(o)
	w.refused(o, "AuthenticationFailed", "host key", "known_hosts")
	w.Expect(o.Status.LastHandledReconcileAt).To(Equal(token))
	w.Expect(o.Status.Artifact).To(Equal(good))
}

func TestMissingBranch(t *testing.T) { // SRC-A3, SRC-A16
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	w.commit("First", map[string]string{"a.yaml": configMap("a", "1")})
	o := w.gitRepository(nil)
	w.awaitReady(o)
	good := o.Status.Artifact.DeepCopy()

	o.Spec.Reference.Branch = "release"
	w.Expect(w.Update(w.ctx, o)).To(Succeed())
	w.refused(o, "GitOperationFailed", "release", "check spec.ref")
	w.Expect(o.Status.Artifact).To(Equal(good))
	w.Expect(o.Status.ObservedGeneration).To(BeNumerically("<", o.Generation))

	w.repo.Commit("release", gitserver.Files{"a.yaml": configMap("a", "1")}, gitserver.CommitOptions{Message: "Release"})
	w.request(o)
	w.awaitReady(o)
	w.Expect(o.Status.Artifact.Revision).To(HavePrefix("release@sha1:"))
}

func TestEmptyRepository(t *testing.T) { // SRC-31
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	o := w.gitRepository(nil)
	w.refused(o, "EmptyGitRepository", "push a first commit")
	w.Expect(o.Status.Artifact).To(BeNil())
}

func TestCredentialsRefused(t *testing.T) { // SRC-A4, SRC-12, SRC-20, SRC-86
	t.Parallel()
	w := newWorld(t, gitserver.Options{TLS: true})
	w.server.SetAuth(gitserver.Auth{Users: map[string]string{"ann": "right"}})
	w.commit("First", map[string]string{"a.yaml": configMap("a", "1")})
	w.secret("login", map[string]string{"username": "ann", "password": "canary-wrong", "ca.crt": string(w.server.CA())})
	o := w.gitRepository(func(o *sourcev1.GitRepository) { o.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"} })
	w.refused(o, "AuthenticationFailed", "check the credentials in Secret '"+w.ns+"/login'")
	w.Expect(o.Status.Artifact).To(BeNil())

	var s corev1.Secret
	w.Expect(w.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "login"}, &s)).To(Succeed())
	s.Data["password"] = []byte("right")
	s.Labels = map[string]string{"reconcile.fluxcd.io/watch": "Enabled"} // its change starts a run
	w.Expect(w.Update(w.ctx, &s)).To(Succeed())
	w.awaitReady(o)
	w.awaitEvent(o, corev1.EventTypeNormal, "NewArtifact", "stored artifact for commit 'First'")

	// Revoked later: the last good artifact stays, and is served.
	good := o.Status.Artifact.DeepCopy()
	w.server.SetAuth(gitserver.Auth{Users: map[string]string{"ann": "other"}})
	w.commit("Second", map[string]string{"a.yaml": configMap("a", "2")})
	token := w.request(o)
	w.refused(o, "AuthenticationFailed", "check the credentials in Secret '"+w.ns+"/login'")
	w.Expect(o.Status.LastHandledReconcileAt).To(Equal(token))
	w.Expect(o.Status.Artifact).To(Equal(good))
	w.Expect(w.names(o.Status.Artifact)).To(Equal(map[string]string{"a.yaml": configMap("a", "1")}))
	w.Expect(w.log.String()).NotTo(ContainSubstring("canary-wrong"))
}

func TestMissingSecret(t *testing.T) { // SRC-20
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	w.commit("First", map[string]string{"a.yaml": configMap("a", "1")})
	o := w.gitRepository(func(o *sourcev1.GitRepository) { o.Spec.SecretRef = &meta.LocalObjectReference{Name: "nothing"} })
	w.refused(o, "AuthenticationFailed", "failed to get secret '"+w.ns+"/nothing'")
	w.Expect(w.repo.Stats().Listings).To(BeZero())
}

// TestBadRevisions walks one Kustomization through every kind of bad commit:
// nothing is applied, nothing pruned, and a good commit heals it.
func TestBadRevisions(t *testing.T) { // KUS-A4, KUS-A6, KUS-A15, KUS-10, KUS-22, KUS-40, KUS-61
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	good := map[string]string{"deploy/a.yaml": configMap("a", "1"), "deploy/b.yaml": configMap("b", "1")}
	id := w.commit("Good", good)
	repo := w.gitRepository(nil)
	o := w.kustomization(func(o *kustomizev1.Kustomization) { o.Spec.Path = "./deploy" })
	w.applied(o, id)
	uidA, uidB := string(w.configMap("a").UID), string(w.configMap("b").UID)
	version := w.configMap("a").ResourceVersion

	cases := []struct {
		name   string
		files  map[string]string
		reason string
		texts  []string
	}{
		{"path", map[string]string{"other/a.yaml": configMap("a", "2")}, "ArtifactFailed", []string{"kustomization path not found: ./deploy", "check spec.path"}},
		{
			"kustomization",
			map[string]string{"deploy/kustomization.yaml": "resources: [a.yaml, gone.yaml]\n", "deploy/a.yaml": configMap("a", "2")},
			"BuildFailed",
			[]string{"kustomize build failed", "gone.yaml", "(from deploy/kustomization.yaml:1)"},
		},
		{
			"plugin",
			map[string]string{"deploy/kustomization.yaml": "helmCharts: [{name: x}]\nresources: [a.yaml]\n", "deploy/a.yaml": configMap("a", "2")},
			"BuildFailed",
			[]string{"kustomize build failed", "helmCharts"},
		},
		{
			"path out of the artifact",
			map[string]string{"deploy/kustomization.yaml": "resources: [a.yaml, ../../etc/passwd]\n", "deploy/a.yaml": configMap("a", "2")},
			"BuildFailed",
			[]string{"kustomize build failed", "../../etc/passwd"},
		},
		{
			"remote base",
			map[string]string{"deploy/kustomization.yaml": "resources: [a.yaml, 'https://example.com/base.yaml']\n", "deploy/a.yaml": configMap("a", "2")},
			"BuildFailed",
			[]string{"https://example.com/base.yaml", "copy the base into the repository"},
		},
		{
			"encrypted Secret",
			map[string]string{"deploy/a.yaml": configMap("a", "2"), "deploy/b.yaml": "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\ndata:\n  k: canary\nsops:\n  mac: x\n"},
			"ReconciliationFailed",
			[]string{"Secret/" + w.ns + "/s is SOPS encrypted, configuring decryption is required for this secret to be reconciled"},
		},
		{"not an object", map[string]string{"deploy/a.yaml": configMap("a", "2"), "deploy/b.yaml": "just: text\n"}, "BuildFailed", []string{"deploy/b.yaml"}},
		{
			"invalid object",
			map[string]string{"deploy/a.yaml": configMap("a", "2"), "deploy/b.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\ndata: [1]\n"},
			"ReconciliationFailed",
			[]string{"ConfigMap/" + w.ns + "/b dry-run failed", "(from deploy/b.yaml:1)"},
		},
		{
			"unknown kind",
			map[string]string{"deploy/a.yaml": configMap("a", "2"), "deploy/b.yaml": "apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: b\n"},
			"ReconciliationFailed",
			[]string{"Widget", "install the missing CustomResourceDefinition"},
		},
		{"empty", map[string]string{"deploy/readme.txt": "nothing"}, "PruneBlocked", []string{"nothing deleted", "gitops-kit.github.io/allow-empty"}},
	}
	for _, tc := range cases {
		w.commit(tc.name, tc.files)
		w.request(repo)
		w.unsuccessful(o, tc.reason, tc.texts...)
		w.unharmed(o, uidA, "a")
		w.unharmed(o, uidB, "b")
		w.Expect(w.configMap("a").ResourceVersion).To(Equal(version), "%s: nothing may be applied", tc.name)
		w.Expect(o.Status.LastAppliedRevision).To(Equal("main@sha1:"+string(id)), tc.name)
	}
	good["deploy/a.yaml"] = configMap("a", "3")
	id = w.commit("Good again", good)
	w.request(repo)
	w.applied(o, id)
	w.Expect(w.configMap("a").Data).To(HaveKeyWithValue("value", "3"))
	w.unharmed(o, uidA, "a")
}

func TestClusterUnreachable(t *testing.T) { // KUS-85, KUS-82, KUS-A25
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	w.commit("First", map[string]string{"a.yaml": configMap("a", "1")})
	w.gitRepository(nil)
	w.secret("remote", map[string]string{"value": `
apiVersion: v1
kind: Config
current-context: remote
contexts: [{name: remote, context: {cluster: remote, user: remote}}]
clusters: [{name: remote, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: remote, user: {token: canary-token}}]
`})
	o := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "remote"}}
	})
	w.unsuccessful(o, "ReconciliationFailed", "cannot be reached", "check server address and credentials in Secret '"+w.ns+"/remote'")
	w.Expect(o.Status.Inventory).To(BeNil())
	var c corev1.ConfigMap
	w.Expect(client.IgnoreNotFound(w.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "a"}, &c))).To(Succeed())
	w.Expect(c.UID).To(BeEmpty())
	w.Expect(w.log.String()).NotTo(ContainSubstring("canary-token"))

	// Another object is not affected.
	other := w.kustomization(func(o *kustomizev1.Kustomization) { o.Name = "local" })
	w.awaitReady(other)
}

func TestKubeconfigWithForbiddenFields(t *testing.T) { // KUS-82
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	w.commit("First", map[string]string{"a.yaml": configMap("a", "1")})
	w.gitRepository(nil)
	w.secret("remote", map[string]string{"value": `
apiVersion: v1
kind: Config
current-context: remote
contexts: [{name: remote, context: {cluster: remote, user: remote}}]
clusters: [{name: remote, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: remote, user: {tokenFile: /etc/passwd}}]
`})
	o := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "remote"}}
	})
	w.unsuccessful(o, "ReconciliationFailed", "users[0].user.tokenFile", "remove the field")
	w.Expect(o.Status.Inventory).To(BeNil())

	// A cluster of a provider needs what this installation does not have.
	o.Spec.KubeConfig = &meta.KubeConfigReference{ConfigMapRef: &meta.LocalObjectReference{Name: "provider"}}
	w.Expect(w.Update(w.ctx, o)).To(Succeed())
	c := w.await(o, meta.StalledCondition, metav1.ConditionTrue, "FeatureGateDisabled")
	w.Expect(c.Message).To(ContainSubstring("use spec.kubeConfig.secretRef"))
	w.awaitEvent(o, corev1.EventTypeWarning, "FeatureGateDisabled", "spec.kubeConfig.configMapRef")
	w.Expect(o.Status.Inventory).To(BeNil())
}

func TestSourceMissing(t *testing.T) { // KUS-8, KUS-A4, KUS-7
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	o := w.kustomization(nil)
	c := w.await(o, meta.ReadyCondition, metav1.ConditionFalse, "ArtifactFailed")
	w.Expect(c.Message).To(ContainSubstring("not found"))
	id := w.commit("First", map[string]string{"a.yaml": configMap("a", "1")})
	w.gitRepository(nil)
	w.applied(o, id)
}

func TestInvalidSpecStalls(t *testing.T) { // KUS-2, KUS-A38, DUR-3
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("First", map[string]string{"a.yaml": configMap("a", "1")})
	w.gitRepository(nil)
	bad := w.kustomization(func(o *kustomizev1.Kustomization) {
		o.Name = "bad"
		o.Spec.HealthCheckExprs = []meta.CustomHealthCheck{{APIVersion: "v1", Kind: "ConfigMap", HealthCheckExpressions: meta.HealthCheckExpressions{Current: "data."}}}
	})
	stalledCondition := w.await(bad, meta.StalledCondition, metav1.ConditionTrue, "InvalidCELExpression")
	w.Expect(stalledCondition.Message).To(HavePrefix("Reconciliation failed terminally due to configuration error: "))
	w.Expect(bad.Status.ObservedGeneration).To(Equal(bad.Generation))
	good := w.kustomization(func(o *kustomizev1.Kustomization) { o.Name = "good"; o.Spec.Interval = *meta.NewDuration(time.Hour) })
	w.applied(good, id)
}
