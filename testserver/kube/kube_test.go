// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
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

// TST-50, TST-51
func TestStart(t *testing.T) {
	g := NewWithT(t)
	c := kube.Start(t, kube.Options{})
	ns := c.Namespace(t)
	client := clientOf(t, c.Config())
	_, err := client.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.Version()).To(Equal("v1.37.2"))
}

func TestUsers(t *testing.T) {
	g := NewWithT(t)
	c := kube.Start(t, kube.Options{})
	ns := c.Namespace(t)
	bob := clientOf(t, c.User(t, "bob", "team"))
	_, err := bob.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{})
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)

	robot := clientOf(t, c.ServiceAccount(t, ns, "robot", rbacv1.PolicyRule{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}))
	g.Eventually(func() error {
		_, err := robot.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{})
		return err
	}).Should(Succeed())
	_, err = robot.CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{})
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
}
