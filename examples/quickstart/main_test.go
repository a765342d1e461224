// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitops-kit/sdk/apis/meta"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	v1 "github.com/gitops-kit/sdk/examples/quickstart/v1"
	"github.com/gitops-kit/sdk/runtime/manager"
	"github.com/gitops-kit/sdk/testserver/artifactserver"
	"github.com/gitops-kit/sdk/testserver/kube"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
`

// The controller of the quickstart does what its page says, on a real control
// plane, as the service account of the App.
// RT-147
func TestQuickstart(t *testing.T) {
	g := NewWithT(t)
	cluster := kube.Start(t, kube.Options{Components: kube.Full, CRDs: []string{"config", "../../controllers/config/crd/bases"}})
	ns := cluster.Namespace(t)
	cluster.ServiceAccount(t, ns, "deployer", rbacv1.PolicyRule{
		APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"get", "list", "watch", "create", "patch", "update"},
	})
	c, err := ctrlclient.New(cluster.Config(), ctrlclient.Options{Scheme: clientgoscheme.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(v1.AddToScheme(c.Scheme())).To(Succeed())
	g.Expect(sourcev1.AddToScheme(c.Scheme())).To(Succeed())
	start(t, cluster, ns)

	// The app waits for its source, and is deployed as soon as there is one.
	app := &v1.App{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: ns}, Spec: v1.AppSpec{Repository: "web", ServiceAccount: "deployer"}}
	repo := &sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: ns},
		Spec:       sourcev1.GitRepositorySpec{URL: "https://example.com/web", Interval: meta.Duration{Duration: time.Hour}},
	}
	g.Expect(c.Create(t.Context(), repo)).To(Succeed())
	g.Expect(c.Create(t.Context(), app)).To(Succeed())
	ready := func(ctx context.Context) string {
		live := &v1.App{}
		if err := c.Get(ctx, ctrlclient.ObjectKeyFromObject(app), live); err != nil {
			return err.Error()
		}
		if cond := apimeta.FindStatusCondition(live.Status.Conditions, meta.ReadyCondition); cond != nil {
			return cond.Message
		}
		return ""
	}
	g.Eventually(ready).WithContext(t.Context()).WithTimeout(time.Minute).Should(ContainSubstring("source has no artifact yet"))

	srv := artifactserver.Start(t, artifactserver.Options{})
	publish(t, c, srv, repo, ns, "main@sha1:1")
	g.Eventually(ready).WithContext(t.Context()).WithTimeout(time.Minute).Should(Equal("Applied revision: main@sha1:1"))
	var live appsv1.Deployment
	g.Expect(c.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "web"}, &live)).To(Succeed())
	g.Expect(live.Status.AvailableReplicas).To(BeEquivalentTo(1), "ready means healthy")
	g.Expect(live.ManagedFields).To(ContainElement(HaveField("Manager", "app-controller")))
}

// publish makes the artifact that a source controller would.
func publish(t *testing.T, c ctrlclient.Client, srv *artifactserver.Server, repo *sourcev1.GitRepository, ns, revision string) {
	t.Helper()
	g := NewWithT(t)
	a := srv.Publish("GitRepository", ns, "web", revision, artifactserver.Files{"web.yaml": strings.ReplaceAll(deployment, "NS", ns)})
	repo.Status.Artifact = &meta.Artifact{Path: a.Path, URL: a.URL, Digest: a.Digest, Size: &a.Size, Revision: revision, LastUpdateTime: metav1.Now()}
	g.Expect(c.Status().Update(t.Context(), repo)).To(Succeed())
}

// start runs the controller until the test ends.
func start(t *testing.T, cluster *kube.Cluster, ns string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	o := options()
	o.Config, o.Namespace, o.Stderr = cluster.Config(), ns, t.Output()
	o.Args = []string{"--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--watch-all-namespaces=false", "--requeue-dependency=1s"}
	go func() { ended <- manager.Run(ctx, o) }()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("the controller ended with code %d", code)
		}
	})
}
