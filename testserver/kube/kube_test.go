// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"os"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/gitops-kit/sdk/testserver/kube"
)

func clientOf(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return client
}

// shared is one control plane for all tests that can share one: the first to
// ask starts it, with everything that any of them needs, and every other call
// of Start is served by it.
func shared(t *testing.T) *kube.Cluster {
	t.Helper()
	return kube.Start(t, kube.Options{Components: kube.Full, Audit: true})
}

// long says that there is time for the longer forms of tests.
func long() bool { return os.Getenv("GITOPS_KIT_LONG") == "1" }

// TST-50, TST-51
func TestStart(t *testing.T) {
	g := NewWithT(t)
	c := shared(t)
	g.Expect(kube.Start(t, kube.Options{}).Config().Host).To(Equal(c.Config().Host), "it serves those who need less")
	ns := c.Namespace(t)
	client := clientOf(t, c.Config())
	_, err := client.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.Version()).To(Equal("v1.37.2"))
}

func TestUsers(t *testing.T) {
	g := NewWithT(t)
	c := shared(t)
	ns := c.Namespace(t)
	bob := clientOf(t, c.User(t, "bob", "team"))
	_, err := bob.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{})
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)

	robot := clientOf(t, c.ServiceAccount(t, ns, "robot", rbacv1.PolicyRule{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}))
	g.Eventually(func() error {
		_, err := robot.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{})
		return err
	}).WithTimeout(soon).Should(Succeed())
	_, err = robot.CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{})
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
}
